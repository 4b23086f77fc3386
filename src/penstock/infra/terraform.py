"""AWS resources under Terraform's own names: `aws.kinesis_stream(scope, "main", name=…)`.

The bindings are a quarter of a gigabyte; a class is loaded when it is first asked for. A dict is given where
HCL has a block, in snake_case everywhere; the bindings would want camelCase inside lists.
"""

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from cdktn import TerraformDataSource, TerraformResource
from constructs import Construct

VERBATIM: Final = frozenset({"dimensions", "statement", "tags", "triggers", "variables"})
"""Maps whose keys are the user's own, and a WAF statement, which the bindings hand on as it is."""


class _Aws:
    """One function for each resource type; `data_…` for what is looked up."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(_make, name)


aws: Final = _Aws()


def _make(name: str, scope: Construct, ident: str, /, **arguments: Any) -> Any:
    made = _class(name)(scope, ident, **{key: _block(value) for key, value in arguments.items()})
    made.override_logical_id(logical_id(scope, ident))
    return made


def logical_id(scope: Construct, ident: str) -> str:
    """`network_vpc`: what a plan shows, the same in every deployment."""
    parts = [*str(scope.node.path).split("/")[1:], ident]
    return re.sub(r"[^A-Za-z0-9_]", "_", "_".join(parts))


@functools.cache
def _class(name: str) -> Any:
    module = importlib.import_module(f"cdktn_provider_aws.{name}")
    wanted = f"aws_{name.removeprefix('data_aws_')}"
    kinds = (TerraformDataSource, TerraformResource)
    for found in vars(module).values():
        if isinstance(found, type) and issubclass(found, kinds) and _terraform_type(found) == wanted:
            return found
    raise LookupError(wanted)


def _terraform_type(found: Any) -> str | None:
    kind: str | None = getattr(found, "TF_RESOURCE_TYPE", None)
    return kind


def _block(value: Any, *, listed: bool = False) -> Any:
    match value:
        case list() | tuple():
            return [_block(one, listed=True) for one in value]
        case Mapping():
            return {
                (_camel(key) if listed else key): one if key in VERBATIM else _block(one, listed=listed)
                for key, one in value.items()
            }
        case _:
            return value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)
