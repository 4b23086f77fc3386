"""A description, read: profile, then the environment's overlay, then what was set by hand; each over what was before.

Everything wrong is told at once, and before anything is made of it.
"""

import copy
import difflib
import functools
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from penstock.errors import Misconfigured
from penstock.infra.checks import refusals
from penstock.infra.description import Deployment
from penstock.infra.refusal import Refusal

PROFILES: Final = ("tokyo", "london", "montreal", "virginia", "frankfurt")
ENVIRONMENTS: Final = ("dev", "stage", "prod")
Values = dict[str, Any]


def read_deployment(
    profile: str, *, environment: str = "prod", suffix: str | None = None, settings: Sequence[str] = ()
) -> Deployment:
    """The deployment of *profile*: a name, or a TOML file of one's own, which may begin with `like = "london"`.

    *environment* is likewise a name or a file; *settings* are `key=value`, as `stream.shards=6`.
    Raises Misconfigured with every refusal: field, value, what is allowed, mend.
    """
    values = _profile(profile)
    _lay_over(values, _data(environment, "environments", ENVIRONMENTS))
    for setting in settings:
        _lay_over(values, _set(setting))
    if suffix is not None:
        values["suffix"] = suffix
    return describe(values)


def describe(values: Mapping[str, Any]) -> Deployment:
    """A description of *values*, with everything checked. Raises Misconfigured with all refusals."""
    found: list[Refusal] = []
    deployment: Deployment | None
    try:
        deployment = Deployment.model_validate(values)
    except ValidationError as error:
        found = [_refusal(one) for one in error.errors()]
        deployment = _without(values, error)
    if deployment is not None:
        told = {_whole(refusal.field) for refusal in found}
        found += [refusal for refusal in refusals(deployment) if refusal.field not in told]
    if deployment is None or found:
        lines = "".join(f"\n  {refusal}" for refusal in found)
        raise Misconfigured("deployment", f"{len(found)} value(s) will not do", f"each as it says:{lines}")
    return deployment


def _without(values: Mapping[str, Any], error: ValidationError) -> Deployment | None:
    """The description with defaults where values were refused, so that the others are judged too, if that can be."""
    kept: Values = copy.deepcopy(dict(values))
    for one in error.errors():
        _forget(kept, one["loc"])
    try:
        return Deployment.model_validate(kept)
    except ValidationError:
        return None


def _forget(room: Values, path: tuple[int | str, ...]) -> None:
    """Drop what stands at *path*; a list goes as a whole."""
    name, *rest = path
    below = room.get(str(name))
    if rest and isinstance(below, dict):
        _forget(below, tuple(rest))
    else:
        room.pop(str(name), None)


def _profile(profile: str) -> Values:
    values = _data(profile, "profiles", PROFILES)
    like = values.pop("like", None)
    if like is None:
        return values
    below = _data(str(like), "profiles", PROFILES)
    _lay_over(below, values)
    return below


def _data(name: str, folder: str, known: tuple[str, ...]) -> Values:
    if name in known:
        return tomllib.loads(files("penstock.infra").joinpath(folder, f"{name}.toml").read_text())
    if not name.endswith(".toml"):
        mend = f"use one of {', '.join(known)}, or a .toml file of your own"
        raise Misconfigured(folder.removesuffix("s"), f"there is no {name!r}", mend)
    try:
        return tomllib.loads(Path(name).read_text())
    except (OSError, ValueError) as error:
        raise Misconfigured(name, f"cannot be read ({error})", "correct the file") from error


def _set(setting: str) -> Values:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise Misconfigured("--set", f"{setting!r} sets nothing", "write it as --set stream.shards=6")
    values: Values = {}
    room = values
    *rooms, last = key.strip().split(".")
    for name in rooms:
        room = room.setdefault(name, {})
    room[last] = _value(text)
    return values


def _value(text: str) -> Any:
    """As TOML reads it; what TOML cannot read is a text without its quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _lay_over(values: Values, over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        below = values.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict):
            _lay_over(below, value)
        else:
            values[key] = value


def _refusal(error: ErrorDetails) -> Refusal:
    field = ".".join(str(part) for part in error["loc"])
    value = "(nothing)" if error["type"] == "missing" else error["input"]
    if error["type"] == "extra_forbidden":
        return _unknown(field, value)
    settable = _whole(field)
    return Refusal(field, value, _allowed(field, error), f"--set {settable}={_example(settable)}")


def _whole(field: str) -> str:
    """A list is set as a whole."""
    return re.sub(r"\.\d+$", "", field)


def _unknown(field: str, value: object) -> Refusal:
    known = list(field_names(Deployment))
    close = difflib.get_close_matches(field, known, n=1) or [name for name in known if name.endswith(field)]
    mend = f"did you mean {close[0]}?" if close else "see the list of fields in docs"
    return Refusal(field, value, "no such field", mend)


def field_names(model: type[BaseModel], room: str = "") -> Iterable[str]:
    """`region`, `network.cidr`, …: every field there is."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from field_names(kind, f"{room}{name}.")
        else:
            yield f"{room}{name}"


def _allowed(field: str, error: ErrorDetails) -> str:
    """What the field's own schema says; pydantic's words where it says nothing."""
    schema = _schema(field)
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "minimum" in schema and "maximum" in schema:
        step = f", in steps of {schema['multipleOf']}" if "multipleOf" in schema else ""
        return f"{schema['minimum']} to {schema['maximum']}{step}"
    if "pattern" in schema:
        return f"must match {schema['pattern']}"
    if schema.get("type") == "boolean":
        return "true or false"
    if schema.get("type") == "array":
        return _list(schema)
    return error["msg"][:1].lower() + error["msg"][1:]


def _list(schema: Mapping[str, Any]) -> str:
    items = ", ".join(schema.get("items", {}).get("enum", ()))
    many = f" of {schema['minItems']} to {schema['maxItems']}" if "minItems" in schema else ""
    return f"a list{many}" + (f", each one of {items}" if items else "")


def _example(field: str) -> str:
    """One that would do: an example where the default is nothing, else the default, or the first of what there is."""
    schema = _schema(field)
    some = [*schema.get("examples", ()), schema.get("default"), *schema.get("enum", ()), schema.get("minimum")]
    found = json.dumps(next((one for one in some if one or one == 0), "…"))
    return f"'{found}'" if found.startswith("[") else found


@functools.cache
def _whole_schema() -> dict[str, Any]:
    return Deployment.model_json_schema()


def _schema(field: str) -> dict[str, Any]:
    """The JSON schema of one field."""
    whole = _whole_schema()
    schema: dict[str, Any] = whole
    for part in field.split("."):
        schema = schema.get("items", {}) if part.isdigit() else schema.get("properties", {}).get(part, {})
        if "$ref" in schema:
            schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema
