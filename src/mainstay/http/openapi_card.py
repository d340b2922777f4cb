"""The decision card's part of the OpenAPI document; its schemas are drawn from the records that are read and sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mainstay.core.nouns import Field
from mainstay.http import openapi_fields
from mainstay.serving.card_tokens import TEXT_MOST, TTL_MOST
from mainstay.serving.card_words import Reading
from mainstay.serving.contract import ApiContract
from mainstay.serving.feedback import DECISIONS, Recorded
from mainstay.serving.feedback import TEXT_MOST as FEEDBACK_MOST
from mainstay.serving.request import CardDecision

Schema = dict[str, Any]
Problem = Callable[[str, str], Schema]

SECURITY: Schema = {"type": "http", "scheme": "bearer", "description": "A card's token: mct_..."}
_UNAUTHORIZED = "No card's token, or one that is not ours, is over, or whose API key is"
_ORIGIN = "The page's origin is not among `card: {origins: [...]}`"
_TEXT: Schema = {"type": "string"}
SOME_TEXT: Schema = {"type": "string", "minLength": 1, "pattern": r"[^\s\x1c-\x1f\x85]"}
"""Not only white space."""


def paths(contract: ApiContract, problem: Problem, statuses: dict[str, str]) -> Schema:
    """The card's routes. `statuses` has what each status of a prediction means, `problem` makes a response of it."""
    base = f"/v1/{contract.integration}"
    return {
        f"{base}/card-tokens": {"post": _tokens(contract, problem, statuses)},
        f"{base}/card.js": {"get": _script()},
        f"{base}/card": {"post": _read(problem, statuses)},
        f"{base}/card/decisions": {"post": _decide(problem, statuses)},
    }


def schemas() -> Schema:
    """The records that the card is sent, by name."""
    _, found = msgspec.json.schema_components([Reading], ref_template="#/components/schemas/{name}")
    return dict(found)


def key_schema(contract: ApiContract, longest: int | None = None) -> Schema:
    """The JSON Schema of a business key: its value, or an object with its columns. `longest`: characters of each."""
    columns = contract.key_columns
    given: Schema = {
        "type": "object",
        "required": [field.name for field in columns],
        "properties": {field.name: _key_column(field, longest) for field in columns},
        "additionalProperties": False,
    }
    if len(columns) > 1:
        return given
    alone = _key_column(columns[0], longest)
    if columns[0].type == "boolean":
        alone = alone["anyOf"][0]  # without its column's name, a truth is a text
    return {"anyOf": [*alone.get("anyOf", [alone]), given]}


def _key_column(field: Field, longest: int | None) -> Schema:
    text: Schema = {"type": "string"} if longest is None else {"type": "string", "maxLength": longest}
    match field.type:
        case "integer":
            return {"anyOf": [{**text, "pattern": "^-?[0-9]+$"}, {"type": "integer"}]}
        case "boolean":
            truth = {**text, "pattern": "^(?:[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"}
            return {"anyOf": [truth, {"type": "boolean"}]}
        case "date":
            return {**text, "format": "date"}
        case "timestamp":
            return {"anyOf": [{**text, "format": "date-time"}, openapi_fields.MICROSECONDS]}
    return text


def sent(contract: ApiContract) -> Schema:
    """The property `inputs` that goes with a key."""
    if not contract.inputs:
        return {"inputs": {"type": ["object", "null"], "maxProperties": 0, "description": "There are none here"}}
    fields = openapi_fields.inputs(contract.inputs)
    if any(field.required for field in contract.inputs):
        return {"inputs": fields}
    return {"inputs": {**fields, "type": ["object", "null"]}}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _tokens(contract: ApiContract, problem: Problem, statuses: dict[str, str]) -> Schema:
    wanted: Schema = {
        "type": "object",
        "required": ["key", "user", *(["inputs"] if any(field.required for field in contract.inputs) else [])],
        "additionalProperties": False,
        "properties": {
            "key": key_schema(contract, TEXT_MOST),
            "user": {**SOME_TEXT, "maxLength": TEXT_MOST, "description": "Whose decisions these will be"},
            "ttl": {"type": "integer", "minimum": 1, "maximum": TTL_MOST, "description": "Seconds"},
            **sent(contract),
        },
    }
    given: Schema = {
        "type": "object",
        "required": ["token", "expires_at", "script", "integrity"],
        "properties": {
            "token": _TEXT,
            "expires_at": {"type": "string", "format": "date-time"},
            "script": {"type": "string", "description": "Path of the card's script"},
            "integrity": {"type": "string", "description": "Its digest, for the script tag"},
        },
    }
    refused = ("400", "401", "403", "408", "413", "415", "422", "429", "503")
    ended = "This version of the API has ended (`successor`)"
    return {
        "operationId": "card_token",
        "summary": "A token for the decision card: for one key and one user",
        "requestBody": {"required": True, **_json(wanted)},
        "responses": {
            "201": {"description": "The token", **_json(given)},
            **{status: problem(statuses[status], status) for status in refused},
            "410": problem(ended, ""),
        },
    }


def _script() -> Schema:
    given = {"description": "The script", "content": {"text/javascript": {"schema": _TEXT}}}
    return {"operationId": "card_script", "summary": "The card's script", "security": [], "responses": {"200": given}}


def drawn(record: type[msgspec.Struct]) -> Schema:
    """The schema of a record, as it is read or sent."""
    found: Schema = msgspec.json.schema_components([record])[1][record.__name__]
    return found


def decision(record: type[msgspec.Struct]) -> Schema:
    """What a decision's request may be, by the record that reads it: an answer is overridden with a reason."""
    properties: Schema = dict(drawn(record)["properties"])
    for name in ("reason", "by", "id"):
        if name in properties:
            properties[name] = {"type": "string", "maxLength": FEEDBACK_MOST, **_ABOUT[name]}
    properties["receipt"] = {"type": "string", "description": "The `receipt` of the answer"}
    others = [each for each in DECISIONS if each != "overridden"]
    why = {**SOME_TEXT, "maxLength": FEEDBACK_MOST, "description": "Why"}
    base: Schema = {"type": "object", "additionalProperties": False}
    return {
        "anyOf": [
            {**base, "required": ["receipt", "decision"], "properties": {**properties, "decision": {"enum": others}}},
            {
                **base,
                "required": ["receipt", "decision", "reason"],
                "properties": {**properties, "decision": {"enum": ["overridden"]}, "reason": why},
            },
        ]
    }


_ABOUT: dict[str, Schema] = {
    "reason": {"description": "Why; needed when overridden"},
    "by": {"description": "Who decided"},
    "id": {"description": "Sent again with the same id, it counts once"},
}


def _read(problem: Problem, statuses: dict[str, str]) -> Schema:
    refused = ("404", "408", "409", "410", "413", "415", "422", "503")
    return {
        "operationId": "card",
        "summary": "An answer for the token's key, in words (the script asks this)",
        "security": [{"card": []}],
        "responses": {
            "200": {"description": "All that the card shows", **_json({"$ref": "#/components/schemas/Reading"})},
            "401": problem(_UNAUTHORIZED, ""),
            "403": problem(_ORIGIN, ""),
            **{status: problem(statuses[status], status) for status in refused},
        },
    }


def _decide(problem: Problem, statuses: dict[str, str]) -> Schema:
    recorded = _json(drawn(Recorded))
    return {
        "operationId": "card_decision",
        "summary": "What the token's user did with an answer that was given to it (the script asks this)",
        "security": [{"card": []}],
        "requestBody": {"required": True, **_json(decision(CardDecision))},
        "responses": {
            "200": {"description": "Recorded before", **recorded},
            "201": {"description": "Recorded", **recorded},
            "401": problem(_UNAUTHORIZED, ""),
            "403": problem(_ORIGIN, ""),
            "404": problem("This token was given no such answer", ""),
            **{status: problem(statuses[status], status) for status in ("400", "408", "413", "415", "422", "503")},
        },
    }
