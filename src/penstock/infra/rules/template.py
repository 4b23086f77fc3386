"""A stack as Terraform will read it, and what a rule may say of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Arguments = Mapping[str, Any]


class Finding(NamedTuple):
    """One broken rule."""

    rule: str
    where: str
    """Which resource, as a plan names it."""
    why: str
    mend: str

    def __str__(self) -> str:
        return f"{self.rule} {self.where}: {self.why}. Mend: {self.mend}"


class Resource(NamedTuple):
    """One resource."""

    kind: str
    name: str
    arguments: Arguments

    @property
    def where(self) -> str:
        """As a plan names it."""
        return f"{self.kind}.{self.name}"

    def get(self, *path: str) -> Any:
        """What stands at *path*, through blocks that Terraform writes as lists of one; None where nothing does."""
        found: Any = self.arguments
        for part in path:
            found = found[0] if isinstance(found, list) and found else found
            found = found.get(part) if isinstance(found, Mapping) else None
        return found


class Template:
    """All of a stack."""

    def __init__(self, template: Mapping[str, Any]) -> None:
        self._template = template

    def every(self, *kinds: str) -> Iterator[Resource]:
        """Resources of *kinds*; all where none is named."""
        for kind, named in self._template.get("resource", {}).items():
            if not kinds or kind in kinds:
                for name, arguments in named.items():
                    yield Resource(kind, name, arguments)

    def outputs(self) -> Iterator[tuple[str, str]]:
        """Names and what they say."""
        for name, output in self._template.get("output", {}).items():
            yield name, str(output.get("value"))

    def region(self) -> str:
        """Where it all is made."""
        region: str = self._template["provider"]["aws"][0]["region"]
        return region

    def default_tags(self) -> Mapping[str, str]:
        """What everything is tagged with."""
        tags: Mapping[str, str] = self._template["provider"]["aws"][0].get("default_tags", [{}])[0].get("tags", {})
        return tags

    def containers(self) -> Iterator[tuple[Resource, dict[str, Any]]]:
        """Every container of every task definition."""
        for task in self.every("aws_ecs_task_definition"):
            for container in json.loads(task.get("container_definitions") or "[]"):
                yield task, container

    def statements(self, *kinds: str) -> Iterator[tuple[Resource, dict[str, Any]]]:
        """Every statement of every policy document of *kinds*."""
        for resource in self.every(*kinds):
            for statement in json.loads(resource.get("policy") or '{"Statement": []}')["Statement"]:
                yield resource, statement


def listed(value: Any) -> list[Any]:
    """IAM writes one thing and a list of things alike."""
    return list(value) if isinstance(value, list) else [value]


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text within *value*, and where it stands."""
    match value:
        case str():
            yield path, value
        case Mapping():
            for key, one in value.items():
                yield from texts(one, f"{path}.{key}")
        case list():
            for one in value:
                yield from texts(one, path)
