"""The OpenAPI document: Litestar's, with what every route may answer besides, and the doors beside this one."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Litestar

from penstock.door.problem import SCHEMA as PROBLEM_SCHEMA

PROBLEM: Final = "application/problem+json"
_SCHEMES: Final = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": "penstock_session"},
}
_EVERYWHERE: Final = {
    400: "A parameter or the body is not what it must be.",
    401: "No key, or an unknown one.",
    403: "The key's role does not allow this.",
    404: "There is no such thing, or it is of another site.",
    405: "The path does not take this method.",
    429: "More requests than the key may send; see Retry-After.",
    503: "A system that is needed is away; see Retry-After.",
}
_OF_BODIES: Final = {
    409: "It was changed or done meanwhile.",
    413: "Larger than 64 KiB.",
    415: "Another content type than JSON.",
    422: "It cannot be done as asked.",
}
_FILES: Final = ("text/csv", "application/vnd.apache.parquet")
_OPEN: Final = frozenset({"/healthz", "/readyz", "/readyz/ingest", "/metrics"})
_LOGIN: Final[dict[str, dict[str, Any]]] = {
    "post": {
        "operationId": "sign_in",
        "summary": "Exchange a login link's token, or a key, for the page's cookie.",
        "security": [],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"token": {"type": "string"}, "key": {"type": "string"}},
                    }
                }
            },
        },
    },
    "get": {"operationId": "who_am_i", "summary": "Who is signed in."},
    "delete": {"operationId": "sign_out", "summary": "Forget the page's cookie."},
}


def document(app: Litestar, written: Mapping[str, Any]) -> bytes:
    """The document as JSON; *written* are the paths of the writing door."""
    schema = app.openapi_schema.to_schema()
    paths = {
        path: {method: _full(path, method, each) for method, each in item.items()} for path, item in _slashed(schema)
    }
    paths["/v1/login"] = {
        method: _full("/v1/login", method, {**each, **_signed_in()}) for method, each in _LOGIN.items()
    }
    for path, item in written.items():
        paths[path] = {**paths.get(path, {}), **item}
    components = {**schema.get("components", {}), "securitySchemes": _SCHEMES}
    components["schemas"] = {**components.get("schemas", {}), "Problem": PROBLEM_SCHEMA}
    return msgspec.json.encode({**schema, "paths": paths, "components": components})


def _slashed(schema: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(path if path == "/" else path.rstrip("/"), item) for path, item in schema["paths"].items()]


def _signed_in() -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: {} for name in ("key_id", "name", "role", "sites")}}
    return {
        "responses": {"200": {"description": "Who is signed in.", "content": {"application/json": {"schema": schema}}}}
    }


def _full(path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    problems = _EVERYWHERE | (_OF_BODIES if method in ("post", "put", "delete") else {})
    responses = {status: each for status, each in operation.get("responses", {}).items() if status < "400"}
    responses |= {str(status): _problem(text) for status, text in problems.items()}
    if path == "/v1/readings":
        responses["200"] = _with_files(responses["200"])
    if path.startswith("/readyz"):
        responses["503"] = {**responses["200"], "description": "Something is failing; it says what."}
    security: list[dict[str, list[str]]] = [] if path in _OPEN else [{name: []} for name in _SCHEMES]
    return {"security": security, **operation, "responses": responses}


def _with_files(answer: Mapping[str, Any]) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {**answer, "content": {**answer.get("content", {}), **dict.fromkeys(_FILES, binary)}}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
