"""OpenAPI 3.1 out of the API contract, with examples that work when pasted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from mainstay.core.nouns import Field, Retired
from mainstay.http import openapi_callers, openapi_card, openapi_fields
from mainstay.http.openapi_callers import KEYS_ALONE, Known
from mainstay.http.openapi_headers import ONCE, headed
from mainstay.http.problems import TITLES
from mainstay.serving.contract import ApiContract
from mainstay.serving.feedback import TEXT_MOST, Recorded
from mainstay.serving.request import KEYS_MOST, ROWS_MOST, DecisionRequest, Key
from mainstay.serving.retirement import sentence

Schema = dict[str, Any]


class Examples(msgspec.Struct, frozen=True, kw_only=True):
    """Values that work when pasted: a key that exists and its row."""

    key: Key = "KEY"
    row: dict[str, Any] = {}
    output: dict[str, Any] = {}


def document(
    contract: ApiContract,
    examples: Examples,
    rows: Sequence[Field] = (),
    retired: Retired | None = None,
    ways: Known = KEYS_ALONE,
) -> Schema:
    """The whole OpenAPI document of an integration.

    `rows`: what rows carry, as the answering version takes it; `ways`: how callers are known.
    """
    name = contract.integration
    rows = rows or (*contract.columns, *contract.inputs)
    paths = {
        f"/v1/{name}/predict": {"post": _predict(contract, examples, rows)},
        f"/v1/{name}/decisions": {
            "post": _feedback("decision", openapi_card.decision(DecisionRequest), "What a person did with an answer")
        },
        f"/v1/{name}/outcomes": {"post": _feedback("outcome", _OUTCOME, "What came true")},
        **openapi_card.paths(contract, _problem_response, _STATUSES),
        "/v1/receipts/{id}": {"get": _receipt()},
        "/health/live": {"get": _open("liveness", "The process is there")},
        "/health/ready": {"get": _open("readiness", "This worker can answer")},
        "/metrics": {"get": _get("metrics", "Prometheus metrics (role operate)", "text/plain")},
        "/openapi.json": {"get": _get("openapi", "This document", "application/json")},
        "/docs": {"get": _get("docs", "This document as a page", "text/html")},
    }
    info = {"title": f"{name}: predictions", "version": str(contract.api)}
    if retired is not None:
        info["description"] = sentence(retired)
        paths = {path: {act: {**one, "deprecated": True} for act, one in at.items()} for path, at in paths.items()}
    return {
        "openapi": "3.1.0",
        "info": info,
        "servers": [{"url": "/"}],
        "security": openapi_callers.security(ways),
        "paths": headed(paths, retired=retired is not None),
        "components": {
            "securitySchemes": {
                **openapi_callers.schemes(ways),
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


def _predict(contract: ApiContract, examples: Examples, rows: Sequence[Field]) -> Schema:
    key = openapi_card.key_schema(contract)
    row = openapi_fields.inputs(rows)
    sent = openapi_card.sent(contract)
    asked = ["inputs"] if any(field.required for field in contract.inputs) else []
    forms: list[Schema] = [
        {"type": "object", "required": ["key", *asked], "properties": {"key": key, **sent}},
        {
            "type": "object",
            "required": ["keys", *asked],
            "properties": {"keys": {"type": "array", "minItems": 1, "maxItems": KEYS_MOST, "items": key}, **sent},
        },
        {
            "type": "object",
            "required": ["rows"],
            "properties": {
                "rows": {"type": "array", "minItems": 1, "maxItems": ROWS_MOST, "items": row},
                "inputs": {"type": "null", "description": "Rows carry every input themselves"},
            },
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
    answered: Schema = {"description": "An answer, or one item per key", "content": {"application/json": given}}
    answered["links"] = _LINKS
    responses: Schema = {"200": answered, **_refusals(*_STATUSES)}
    return {
        "operationId": "predict",
        "summary": "Predict by key, by keys, or on rows",
        "parameters": [ONCE],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": responses,
    }


_RECEIPT = "$response.body#/receipt"
_LINKS: Schema = {
    "receipt": {"operationId": "receipt", "parameters": {"id": _RECEIPT}, "description": "The record of this answer"},
    "decision": {
        "operationId": "decision",
        "requestBody": {"receipt": _RECEIPT, "decision": "accepted"},
        "description": "What a person did with it",
    },
    "outcome": {
        "operationId": "outcome",
        "requestBody": {"receipt": _RECEIPT, "outcome": True},
        "description": "What came true",
    },
}


def _requests(contract: ApiContract, examples: Examples) -> Schema:
    inputs = {field.name: openapi_fields.sample(field) for field in contract.inputs}
    sent = {"inputs": inputs} if inputs else {}
    found: Schema = {
        "key": {"summary": "One key", "value": {"key": examples.key, **sent}},
        "keys": {"summary": "Several keys, each judged alone", "value": {"keys": [examples.key], **sent}},
    }
    row = examples.row or {field.name: openapi_fields.sample(field) for field in contract.columns}
    found["rows"] = {"summary": "Rows of your own", "value": {"rows": [row | inputs]}}
    return found


def curl(base: str, path: str, body: object) -> str:
    """A command that works when pasted into a shell that has MAINSTAY_KEY."""
    text = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return f"curl -s '{base}{path}' \\\n  -H \"Authorization: Bearer $MAINSTAY_KEY\" \\\n  -d '{text}'"


_STATUSES = {
    "400": "A header or the body cannot be read",
    "401": "Nothing says who asks, or it is not known, revoked or expired",
    "403": "The caller has no role for this",
    "404": TITLES["on_missing"],
    "408": "The body did not arrive in time",
    "409": "The row is held or carries a warning that the file refuses; the first request of this name still runs",
    "410": f"{TITLES['on_deleted']}; this version of the API has ended (`successor`)",
    "413": "The body is larger than 1 MiB",
    "415": "The body's Content-Encoding is neither gzip nor deflate",
    "422": "The body does not fit, or the Idempotency-Key names another request",
    "429": "The rate of this caller is used up",
    "503": "The data is older than promised, the model did not answer, or no receipt can be written",
    "504": "The answer could not be there in the time of `X-Request-Timeout-Ms`",
}
_TEXT: Schema = {"type": "string"}
_SENT = ("400", "401", "403", "408", "413", "415", "422", "429", "503")
"""What any route that takes a body may answer."""
_TEXT_SENT: Schema = {"type": "string", "maxLength": TEXT_MOST}
_OUTCOME: Schema = {
    "type": "object",
    "required": ["receipt", "outcome"],
    "additionalProperties": False,
    "properties": {
        "receipt": _TEXT,
        "outcome": {"anyOf": [_TEXT_SENT, openapi_fields.INTEGERS, {"type": ["number", "boolean", "null"]}]},
        "observed_at": {
            "anyOf": [{"type": "string", "format": "date-time"}, {"enum": [""], "description": "Not known"}],
            "description": "When it came true, with its offset",
        },
        "id": {**_TEXT_SENT, "description": "Sent again with the same id, it counts once"},
    },
}


def _answer(contract: ApiContract) -> Schema:
    return {
        "type": "object",
        "required": ["output", "receipt", "model_version", "as_of", "age_seconds", "verdict", "sentence", "degraded"],
        "properties": {
            "output": openapi_fields.outputs(contract.outputs),
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
    properties: Schema = {"status": {"type": "integer"}, "key": {"type": ["string", "integer", "object"]}}
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
    going = {"successor": {"type": "string", "description": "With 410 of an API version that ended: the next one"}}
    rated = {
        "violated-policies": {"type": "array", "items": _TEXT, "description": "With 429: the rate that is used up"}
    }
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {**words, **more, **judged, **rated, **going},
    }


def _problem_response(text: str, status: str = "") -> Schema:
    schema = {"$ref": "#/components/schemas/Problem"}
    found: Schema = {"description": text, "content": {"application/problem+json": {"schema": schema}}}
    if status in _HEADERS:
        found["headers"] = _HEADERS[status]
    return found


_LATER: Schema = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 0}}}
_HEADERS: dict[str, Schema] = {
    "401": {"WWW-Authenticate": {"description": "How to say who asks", "required": True, "schema": _TEXT}},
    "409": _LATER,
    "429": _LATER,
    "503": _LATER,
}


def _refusals(*statuses: str) -> Schema:
    return {status: _problem_response(_STATUSES[status], status) for status in statuses}


def _feedback(kind: str, schema: Schema, summary: str) -> Schema:
    recorded = openapi_card.drawn(Recorded)
    return {
        "operationId": kind,
        "summary": summary,
        "parameters": [ONCE],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "Recorded before", "content": {"application/json": {"schema": recorded}}},
            "201": {"description": "Recorded", "content": {"application/json": {"schema": recorded}}},
            **_refusals(*_SENT),
            "404": _problem_response("No such receipt"),
            "409": _problem_response("The first request of this name still runs", "409"),
        },
    }


def _receipt() -> Schema:
    return {
        "operationId": "receipt",
        "summary": "The record of an answer (its caller, or role operate)",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": _TEXT}],
        "responses": {
            "200": {"description": "The receipt", "content": {"application/json": {"schema": {"type": "object"}}}},
            **_refusals("401", "403", "429", "503"),
            "404": _problem_response("No such receipt"),
        },
    }


def _open(kind: str, summary: str) -> Schema:
    content = {"application/json": {"schema": {"type": "object"}}}
    responses: Schema = {"200": {"description": "Yes", "content": content}}
    if kind == "readiness":
        responses["503"] = {"description": "No, with the reasons", "content": content, "headers": _LATER}
    return {"operationId": kind, "summary": summary, "security": [], "responses": responses}


def _get(kind: str, summary: str, media: str) -> Schema:
    responses = {
        "200": {"description": summary, "content": {media: {"schema": {}}}},
        **_refusals("401", "403", "429", "503"),
    }
    if kind == "metrics":
        responses["403"] = _problem_response("The caller lacks the role operate")
    return {"operationId": kind, "summary": summary, "responses": responses}
