"""What OpenAPI says of the writing door: forms, caps, codes, examples."""

from typing import Any, Final

from penstock.door.problem import SCHEMA as PROBLEM_SCHEMA
from penstock.ingest.refusal import DETAIL, LISTED_MAX
from penstock.model.quality import CODE_MAX
from penstock.settings import IngestSettings

PATHS: Final = {"/v1/readings": "write_readings", "/sensor-data": "write_sensor_data"}
_EXAMPLE: Final = {
    "tag": "lyon/press/line-3/press-7/temperature",
    "ts": "2026-11-20T08:00:00.000Z",
    "value": 81.25,
    "quality": "good",
    "seq": 17,
    "unit": "Cel",
}
_TAG: Final = {
    "type": "string",
    "maxLength": 200,
    "pattern": "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){1,7}$",
    "example": _EXAMPLE["tag"],
}
_TS: Final = {
    "description": "RFC 3339 with zone, or integer microseconds since 1970.",
    "oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "format": "int64"}],
}
_QUALITY: Final = {
    "oneOf": [
        {"type": "string", "enum": ["good", "uncertain", "bad"]},
        {"type": "integer", "minimum": 0, "maximum": CODE_MAX},
        {"type": "null"},
    ]
}
_VALUE: Final = {"type": ["number", "null"], "format": "double"}
_STATE: Final = {"type": ["string", "null"], "minLength": 1, "maxLength": 64}
_SEQ: Final = {"type": ["integer", "null"], "format": "int64", "minimum": -(2**63) + 1, "maximum": 2**63 - 1}
_UNIT: Final = {"type": ["string", "null"], "minLength": 1, "maxLength": 32}
_READING: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["tag"],
    "properties": {
        "tag": _TAG,
        "ts": _TS,
        "source_ts": _TS,
        "value": _VALUE,
        "state": _STATE,
        "quality": _QUALITY,
        "seq": _SEQ,
        "unit": _UNIT,
    },
    "oneOf": [{"required": ["ts"]}, {"required": ["source_ts"]}],
    "example": _EXAMPLE,
}
_PROBLEMS: Final = {
    400: "Not JSON, nested too deep, or not what its Content-Encoding says.",
    401: "No key, or an unknown one.",
    403: "The key does not write, or to none of the items' sites.",
    413: "Larger than a cap.",
    415: "Another content type or encoding.",
    422: "No reading in the body, or none that can be taken.",
    429: "More requests than the key may send; see Retry-After.",
    503: "Full, or a system we need is away; see Retry-After.",
}


def openapi_paths(settings: IngestSettings) -> dict[str, Any]:
    """The OpenAPI path objects of the writing door: one operation, under both of its names."""
    return {path: {"post": _operation(settings, name)} for path, name in PATHS.items()}


def _operation(settings: IngestSettings, operation_id: str) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "summary": "Write readings. 202 means durable.",
        "description": _caps(settings),
        "security": [{"key": []}, {"bearer": []}],
        "parameters": [
            {
                "name": "Prefer",
                "in": "header",
                "schema": {"type": "string"},
                "example": "wait=committed",
                "description": "`wait=committed` answers 200 once the readings are stored.",
            }
        ],
        "requestBody": {"required": True, "content": _content(settings)},
        "responses": {
            "202": _json("Durable.", _accepted()),
            "200": _json("Stored.", _accepted()),
            **{str(status): _problem(text) for status, text in _PROBLEMS.items()},
        },
    }


def _caps(settings: IngestSettings) -> str:
    return (
        f"At most {settings.body_bytes_max} bytes as sent, {settings.decompressed_bytes_max} decompressed "
        f"(gzip or zstd), {settings.items_max} readings. At most {LISTED_MAX} errors are listed; `refused` counts all."
    )


def _content(settings: IngestSettings) -> dict[str, Any]:
    many = {"type": "array", "items": _READING, "minItems": 1, "maxItems": settings.items_max}
    envelope = _object({"readings": many}, ["readings"])
    forms = {"oneOf": [_READING, many, envelope, _columns(settings.items_max)]}
    lines = {"type": "string", "description": "One reading a line."}
    return {
        "application/json": {"schema": forms, "example": {"readings": [_EXAMPLE]}},
        "application/x-ndjson": {"schema": lines},
    }


def _columns(items_max: int) -> dict[str, Any]:
    columns = {"tags": _TAG, "ts": _TS, "values": _VALUE, "states": _STATE} | {
        "qualities": _QUALITY,
        "seqs": _SEQ,
        "units": _UNIT,
    }
    arrays = {name: {"type": "array", "items": of, "maxItems": items_max} for name, of in columns.items()}
    return _object(arrays, ["tags", "ts"])


def _accepted() -> dict[str, Any]:
    error = _object(
        {
            "index": {"type": "integer"},
            "code": {"type": "string", "enum": [code.value for code in DETAIL]},
            "detail": {"type": "string"},
            "retryable": {"type": "boolean"},
        },
        ["index", "code", "detail"],
    )
    members = {
        "batch_id": {"type": "string"},
        "accepted": {"type": "integer"},
        "refused": {"type": "integer"},
        "errors": {"type": "array", "items": error, "maxItems": LISTED_MAX},
    }
    return _object(members, list(members))


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}}}
