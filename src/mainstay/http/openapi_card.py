"""The decision card's part of the OpenAPI document; its schemas are drawn from the records that are read and sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mainstay.core.nouns import Field
from mainstay.serving.card_tokens import TTL_MOST
from mainstay.serving.card_words import Reading
from mainstay.serving.contract import ApiContract
from mainstay.serving.feedback import DECISIONS, Recorded
from mainstay.serving.request import CardDecision

Schema = dict[str, Any]
Problem = Callable[[str], Schema]

SECURITY: Schema = {"type": "http", "scheme": "bearer", "description": "A card's token: mct_..."}
_UNAUTHORIZED = "No card's token, or one that is not ours, is over, or whose API key is"
_ORIGIN = "The page's origin is not among `card: {origins: [...]}`"
_TEXT: Schema = {"type": "string"}


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


def key_schema(contract: ApiContract) -> Schema:
    """The JSON Schema of a business key: its value, or an object with its columns."""
    columns = contract.key_columns
    given: Schema = {
        "type": "object",
        "required": [field.name for field in columns],
        "properties": {field.name: _key_column(field) for field in columns},
        "additionalProperties": False,
    }
    return given if len(columns) > 1 else {"oneOf": [_key_column(columns[0]), given]}


def _key_column(field: Field) -> Schema:
    also = field.type if field.type in {"integer", "boolean"} else ""
    return {"type": ["string", also] if also else "string"}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _tokens(contract: ApiContract, problem: Problem, statuses: dict[str, str]) -> Schema:
    wanted: Schema = {
        "type": "object",
        "required": ["key", "user"],
        "additionalProperties": False,
        "properties": {
            "key": key_schema(contract),
            "user": {"type": "string", "description": "Whose decisions these will be"},
            "ttl": {"type": "integer", "minimum": 1, "maximum": TTL_MOST, "description": "Seconds"},
            "inputs": {"type": ["object", "null"], "description": "Request-time inputs"},
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
    return {
        "operationId": "card_token",
        "summary": "A token for the decision card: for one key and one user",
        "requestBody": {"required": True, **_json(wanted)},
        "responses": {
            "201": {"description": "The token", **_json(given)},
            **{status: problem(statuses[status]) for status in ("400", "401", "422")},
        },
    }


def _script() -> Schema:
    given = {"description": "The script", "content": {"text/javascript": {"schema": _TEXT}}}
    return {"operationId": "card_script", "summary": "The card's script", "security": [], "responses": {"200": given}}


def _read(problem: Problem, statuses: dict[str, str]) -> Schema:
    refused = ("404", "409", "410", "503")
    return {
        "operationId": "card",
        "summary": "An answer for the token's key, in words (the script asks this)",
        "security": [{"card": []}],
        "responses": {
            "200": {"description": "All that the card shows", **_json({"$ref": "#/components/schemas/Reading"})},
            "401": problem(_UNAUTHORIZED),
            "403": problem(_ORIGIN),
            **{status: problem(statuses[status]) for status in refused},
        },
    }


def _decide(problem: Problem, statuses: dict[str, str]) -> Schema:
    wanted = msgspec.json.schema_components([CardDecision])[1]["CardDecision"]
    wanted["properties"]["decision"] = {"enum": list(DECISIONS)}
    recorded = _json(msgspec.json.schema_components([Recorded])[1]["Recorded"])
    return {
        "operationId": "card_decision",
        "summary": "What the token's user did with an answer that was given to it (the script asks this)",
        "security": [{"card": []}],
        "requestBody": {"required": True, **_json(wanted)},
        "responses": {
            "200": {"description": "Recorded before", **recorded},
            "201": {"description": "Recorded", **recorded},
            "401": problem(_UNAUTHORIZED),
            "403": problem(_ORIGIN),
            "404": problem("This token was given no such answer"),
            **{status: problem(statuses[status]) for status in ("400", "422", "503")},
        },
    }
