"""OpenAPI 3.1 out of the API contract, with examples that work when pasted."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from mainstay.core.nouns import Field
from mainstay.http import openapi_card
from mainstay.http.problems import TITLES
from mainstay.serving.contract import ApiContract
from mainstay.serving.feedback import DECISIONS
from mainstay.serving.request import KEYS_MOST, ROWS_MOST, Key

Schema = dict[str, Any]

_TYPES: dict[str, Schema] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string", "format": "date-time"},
    "json": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
}


_ONCE: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names the request: sent again within 24 hours, it gets the same answer, and nothing is done twice",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
}


class Examples(msgspec.Struct, frozen=True, kw_only=True):
    """Values that work when pasted: a key that exists and its row."""

    key: Key = "KEY"
    row: dict[str, Any] = {}
    output: dict[str, Any] = {}


def document(contract: ApiContract, examples: Examples) -> Schema:
    """The whole OpenAPI document of an integration."""
    name = contract.integration
    paths = {
        f"/v1/{name}/predict": {"post": _predict(contract, examples)},
        f"/v1/{name}/decisions": {"post": _feedback("decision", _DECISION, "What a person did with an answer")},
        f"/v1/{name}/outcomes": {"post": _feedback("outcome", _OUTCOME, "What came true")},
        **openapi_card.paths(contract, _problem_response, _STATUSES),
        "/v1/receipts/{id}": {"get": _receipt()},
        "/health/live": {"get": _open("liveness", "The process is there")},
        "/health/ready": {"get": _open("readiness", "This worker can answer")},
        "/metrics": {"get": _get("metrics", "Prometheus metrics (role operate)", "text/plain")},
        "/openapi.json": {"get": _get("openapi", "This document", "application/json")},
        "/docs": {"get": _get("docs", "This document as a page", "text/html")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{name}: predictions", "version": str(contract.api)},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"header": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: msk_..."},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "card": openapi_card.SECURITY,
            },
            "schemas": {
                "Answer": _answer(contract),
                "Item": _item(contract),
                "Problem": _problem(),
                **openapi_card.schemas(),
            },
        },
    }


def field_schema(field: Field) -> Schema:
    """The JSON Schema of one input or output."""
    schema = dict(_TYPES[field.type])
    about = ", ".join(part for part in (field.meaning, f"in {field.unit}" if field.unit else "") if part)
    if about:
        schema["description"] = about
    bounds = {"minimum": field.minimum, "maximum": field.maximum}
    schema |= {word: bound for word, bound in bounds.items() if bound is not None and math.isfinite(bound)}
    if not field.required:
        schema["type"] = [schema["type"], "null"]
    return schema


def _object(fields: tuple[Field, ...], *, exact: bool = True) -> Schema:
    schema: Schema = {"type": "object", "properties": {field.name: field_schema(field) for field in fields}}
    required = [field.name for field in fields if field.required]
    if required:
        schema["required"] = required
    if exact:
        schema["additionalProperties"] = False
    return schema


def _predict(contract: ApiContract, examples: Examples) -> Schema:
    key = openapi_card.key_schema(contract)
    row = _object((*contract.columns, *contract.inputs))
    sent = {"inputs": _object(contract.inputs)} if contract.inputs else {}
    forms: list[Schema] = [
        {"type": "object", "required": ["key"], "properties": {"key": key, **sent}},
        {
            "type": "object",
            "required": ["keys"],
            "properties": {"keys": {"type": "array", "minItems": 1, "maxItems": KEYS_MOST, "items": key}, **sent},
        },
        {
            "type": "object",
            "required": ["rows"],
            "properties": {"rows": {"type": "array", "minItems": 1, "maxItems": ROWS_MOST, "items": row}},
        },
    ]
    for form in forms:
        form["additionalProperties"] = False
    body = {"schema": {"oneOf": forms}, "examples": _requests(contract, examples)}
    several = {
        "type": "object",
        "required": ["results"],
        "properties": {"results": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}},
    }
    given = {"schema": {"oneOf": [{"$ref": "#/components/schemas/Answer"}, several]}}
    responses: Schema = {
        "200": {"description": "An answer, or one item per key", "content": {"application/json": given}}
    }
    for status, text in _STATUSES.items():
        responses[status] = _problem_response(text)
    return {
        "operationId": "predict",
        "summary": "Predict by key, by keys, or on rows",
        "parameters": [_ONCE],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": responses,
    }


def _requests(contract: ApiContract, examples: Examples) -> Schema:
    inputs = {field.name: sample(field) for field in contract.inputs}
    sent = {"inputs": inputs} if inputs else {}
    found: Schema = {
        "key": {"summary": "One key", "value": {"key": examples.key, **sent}},
        "keys": {"summary": "Several keys, each judged alone", "value": {"keys": [examples.key], **sent}},
    }
    row = examples.row or {field.name: sample(field) for field in contract.columns}
    found["rows"] = {"summary": "Rows of your own", "value": {"rows": [row | inputs]}}
    return found


def sample(field: Field) -> Any:
    """A value that the field takes."""
    if field.categories:
        return field.categories[0]
    least = field.minimum if field.minimum is not None else 1
    values: dict[str, Any] = {
        "integer": int(least),
        "number": float(least),
        "boolean": True,
        "date": "2026-01-31",
        "timestamp": "2026-01-31T12:00:00Z",
        "json": "{}",
        "bytes": "",
    }
    return values.get(field.type, "text")


def curl(base: str, path: str, body: object) -> str:
    """A command that works when pasted into a shell that has MAINSTAY_KEY."""
    text = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return f"curl -s '{base}{path}' \\\n  -H \"Authorization: Bearer $MAINSTAY_KEY\" \\\n  -d '{text}'"


_STATUSES = {
    "400": "The body is not JSON",
    "401": "No API key, or one that is not known, revoked or expired",
    "404": TITLES["on_missing"],
    "408": "The body did not arrive in time",
    "409": "The row is held or carries a warning that the file refuses; the first request of this name still runs",
    "410": TITLES["on_deleted"],
    "413": "The body is larger than 1 MiB",
    "422": "The body does not fit, or the Idempotency-Key names another request",
    "429": "The rate of this API key is used up",
    "503": "The data is older than promised, the model did not answer, or no receipt can be written",
}
_TEXT: Schema = {"type": "string"}
_SENT = ("400", "401", "408", "413", "422", "429", "503")
"""What any route that takes a body may answer."""
_DECISION: Schema = {
    "type": "object",
    "required": ["receipt", "decision"],
    "additionalProperties": False,
    "properties": {
        "receipt": _TEXT,
        "decision": {"enum": list(DECISIONS)},
        "reason": {"type": "string", "description": "Required when overridden"},
        "by": {"type": "string", "description": "Who decided"},
        "id": {"type": "string", "description": "Sent again with the same id, it counts once"},
    },
}
_OUTCOME: Schema = {
    "type": "object",
    "required": ["receipt", "outcome"],
    "additionalProperties": False,
    "properties": {
        "receipt": _TEXT,
        "outcome": {"type": ["string", "number", "boolean", "null"]},
        "observed_at": {"type": "string", "format": "date-time"},
        "id": _TEXT,
    },
}


def _answer(contract: ApiContract) -> Schema:
    return {
        "type": "object",
        "required": ["output", "receipt", "model_version", "as_of", "age_seconds", "verdict", "sentence", "degraded"],
        "properties": {
            "output": _object(contract.outputs),
            "receipt": {"type": ["string", "null"]},
            "model_version": {"type": "integer"},
            "as_of": {"type": ["string", "null"], "format": "date-time"},
            "age_seconds": {"type": ["number", "null"]},
            "verdict": _VERDICT,
            "sentence": {"type": "string", "description": "The evidence, when the verdict is not PASS"},
            "degraded": {"type": "boolean", "description": "Flagged, or answered by the fallback"},
            "reason": {"type": "string", "description": "The policy that decided, when one did"},
            "imputed": {
                "type": "array",
                "items": _TEXT,
                "description": "Inputs that were null and were given a value",
            },
            "filled": {
                "type": "object",
                "additionalProperties": {"type": "array", "items": _TEXT},
                "description": "Columns of each dataset whose absent value was filled when it was read",
            },
        },
    }


_VERDICT: Schema = {"enum": ["PASS", "WARN", "UNKNOWN", "ERROR", "FAIL"]}


def _item(contract: ApiContract) -> Schema:
    properties: Schema = {"status": {"type": "integer"}, "key": {"type": ["string", "integer"]}}
    properties |= _answer(contract)["properties"]
    properties |= {"mend": _TEXT, "retry_after": {"type": "integer"}}
    return {"type": "object", "required": ["status"], "properties": properties}


def _problem() -> Schema:
    words = {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "mend": _TEXT}
    more = {"where": _TEXT, "request": _TEXT, "reason": _TEXT, "verdict": _VERDICT}
    judged = {
        "receipt": {"type": ["string", "null"]},
        "as_of": {"type": ["string", "null"]},
        "age_seconds": {"type": ["number", "null"]},
    }
    rated = {
        "violated-policies": {"type": "array", "items": _TEXT, "description": "With 429: the rate that is used up"}
    }
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {**words, **more, **judged, **rated},
    }


def _problem_response(text: str) -> Schema:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}


def _feedback(kind: str, schema: Schema, summary: str) -> Schema:
    recorded = {"type": "object", "properties": {"event": _TEXT, "receipt": _TEXT, "repeated": {"type": "boolean"}}}
    return {
        "operationId": kind,
        "summary": summary,
        "parameters": [_ONCE],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "Recorded before", "content": {"application/json": {"schema": recorded}}},
            "201": {"description": "Recorded", "content": {"application/json": {"schema": recorded}}},
            **{status: _problem_response(_STATUSES[status]) for status in _SENT},
            "404": _problem_response("No such receipt"),
            "409": _problem_response("The first request of this name still runs"),
        },
    }


def _receipt() -> Schema:
    return {
        "operationId": "receipt",
        "summary": "The record of an answer (its caller, or role operate)",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": _TEXT}],
        "responses": {
            "200": {"description": "The receipt", "content": {"application/json": {"schema": {"type": "object"}}}},
            "401": _problem_response(_STATUSES["401"]),
            "404": _problem_response("No such receipt"),
            "429": _problem_response(_STATUSES["429"]),
        },
    }


def _open(kind: str, summary: str) -> Schema:
    content = {"application/json": {"schema": {"type": "object"}}}
    responses: Schema = {"200": {"description": "Yes", "content": content}}
    if kind == "readiness":
        responses["503"] = {"description": "No, with the reasons", "content": content}
    return {"operationId": kind, "summary": summary, "security": [], "responses": responses}


def _get(kind: str, summary: str, media: str) -> Schema:
    responses = {
        "200": {"description": summary, "content": {media: {"schema": {}}}},
        "401": _problem_response(_STATUSES["401"]),
        "429": _problem_response(_STATUSES["429"]),
    }
    if kind == "metrics":
        responses["403"] = _problem_response("The API key lacks the role operate")
    return {"operationId": kind, "summary": summary, "responses": responses}
