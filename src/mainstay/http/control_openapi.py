"""OpenAPI 3.1 of the control API, out of the table of its operations."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from mainstay.http.control_asked import DESCRIBED
from mainstay.http.control_faults import CODES, TITLED
from mainstay.http.control_operations import DOCUMENT, OPERATIONS, Operation
from mainstay.http.openapi_card import drawn

Schema = dict[str, Any]

_REF = "#/components/schemas/"
_STATUSES = {
    "400": "The body is not JSON",
    "401": "No API key or token, or one that is not known, revoked or expired",
    "403": "The role does not suffice",
    "404": "There is nothing of this name or number here",
    "408": "The body did not arrive in time",
    "409": "It would break a promise, so nothing was changed",
    "413": "The body is larger than 1 MiB",
    "415": "The body's Content-Encoding is neither gzip nor deflate",
    "422": "What was sent does not fit",
    "503": "It cannot be done now: the loop, a store or a source does not answer, or too much is being worked on",
}
_TEXT: Schema = {"type": "string"}
_OBJECT: Schema = {"application/json": {"schema": {"type": "object"}}}


def document(integration: str) -> Schema:
    """The whole document."""
    records = [one.asked for one in OPERATIONS if one.method == "POST" and one.asked.__struct_fields__]
    _, schemas = msgspec.json.schema_components(records, ref_template=_REF + "{name}")
    for schema in schemas.values():
        for name, field in schema["properties"].items():
            field["description"] = DESCRIBED[name]
    paths: Schema = {DOCUMENT: {"get": _document()}}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{integration}: control",
            "version": "1",
            "description": "What changes something. It is served beside the status page, never by the prediction API.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"header": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a token of an issuer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
            "schemas": {"Problem": _problem(), **schemas},
        },
    }


def _document() -> Schema:
    responses = {"200": {"description": "This document", "content": _OBJECT}, **_refusals("401", "403", "503")}
    return {"operationId": "openapi", "summary": "This document (role operate)", "responses": responses}


def _operation(one: Operation) -> Schema:
    done: Schema = {"description": "Done" if one.method == "POST" else "Found", "content": _OBJECT}
    found: Schema = {
        "operationId": one.name,
        "summary": f"{one.summary} (role {one.role})",
        "parameters": _parameters(one),
        "responses": {str(one.status): done, **_refusals("401", "403", "404", "422", "503")},
    }
    if one.method == "POST":
        found["responses"] |= _refusals("400", "408", "409", "413", "415")
        if one.asked.__struct_fields__:
            needed = any(field.required for field in msgspec.structs.fields(one.asked))
            schema = {"$ref": _REF + one.asked.__name__}
            found["requestBody"] = {"required": needed, "content": {"application/json": {"schema": schema}}}
    if one.by_loop:
        found["responses"]["202"] = {
            "description": "The loop was busy. The request stands, is performed once, and is asked for by its id",
            "content": _OBJECT,
            "headers": {"Location": {"description": "Where its answer will be", "schema": _TEXT}},
        }
    return found


def _parameters(one: Operation) -> list[Schema]:
    found: list[Schema] = []
    for name in re.findall(r"\{(\w+)\}", one.path):
        schema: Schema = {"type": "integer", "minimum": 0} if name == "number" else {"type": "string", "minLength": 1}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    if one.method == "GET" and one.asked.__struct_fields__:
        for name, field in drawn(one.asked)["properties"].items():
            found.append({"name": name, "in": "query", "description": DESCRIBED[name], "schema": _without_null(field)})
    return found


def _without_null(schema: Schema) -> Schema:
    """A field that may be left out: nothing stands behind `?` for null."""
    forms = [form for form in schema.get("anyOf", ()) if form.get("type") != "null"]
    kept = {name: value for name, value in schema.items() if name != "anyOf" and value is not None}
    return {**kept, **forms[0]} if forms else kept


def _refusals(*statuses: str) -> Schema:
    content = {"application/problem+json": {"schema": {"$ref": _REF + "Problem"}}}
    return {status: {"description": _STATUSES[status], "content": content} for status in statuses}


def _problem() -> Schema:
    types = [f"{DOCUMENT}#{code}" for code in CODES]
    said = "; ".join(f"`{code}`: {TITLED[code]}" for code in CODES)
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"enum": types, "description": said},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "mend": {"type": "string", "description": "What to do"},
            "where": {"type": "string", "description": "The field"},
            "request": {"type": "string", "description": "The request's id, also in the log"},
        },
    }
