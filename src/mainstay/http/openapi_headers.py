"""The headers beside the bodies of requests and answers, as OpenAPI has them."""

from __future__ import annotations

from typing import Any

from mainstay.serving.idempotency import DONE, NAME_PATTERN, REFUSED

Schema = dict[str, Any]

ONCE: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names the request, by a UUID say: sent again within 24 hours, it gets the same answer, and nothing "
    "is done twice. Another request wants another name",
    "schema": {"type": "string", "pattern": NAME_PATTERN},
}
_TEXT: Schema = {"type": "string"}
_REQUEST: Schema = {
    "X-Request-Id": {"description": "Leads the operator to the log; yours, where you sent one", "schema": _TEXT}
}
_REPLAYED: Schema = {
    "Idempotent-Replayed": {
        "description": "`true` where this is the answer that was given before",
        "schema": {"const": "true"},
    }
}
_RATE: Schema = {
    "RateLimit-Policy": {"description": "The rate of the caller, where it has one", "schema": _TEXT},
    "RateLimit": {"description": "What is left of it, and for how many seconds", "schema": _TEXT},
}
_GOING: Schema = {
    "Deprecation": {"description": "Since when (RFC 9745)", "schema": {"type": "string", "pattern": "^@[0-9]+$"}},
    "Sunset": {"description": "When it answers no more (RFC 8594), where that is known", "schema": _TEXT},
    "Link": {"description": "`deprecation`: why; `successor-version`: the next one", "schema": _TEXT},
}
_REPLAYABLE = {str(status) for status in DONE | REFUSED}


def headed(paths: Schema, *, retired: bool) -> Schema:
    """The paths, whose answers to a caller with an API key say what headers they have.

    `retired`: whether this version of the API is.
    """
    for operations in paths.values():
        for operation in operations.values():
            if "security" not in operation:
                _head(operation, retired=retired)
    return paths


def _head(operation: Schema, *, retired: bool) -> None:
    once = ONCE in operation.get("parameters", ())
    for status, response in operation["responses"].items():
        headers = dict(_REQUEST)
        if status != "401":  # there is no caller
            headers |= _RATE | (_GOING if retired else {})
        if once and status in _REPLAYABLE:
            headers |= _REPLAYED
        operation["responses"][status] = {**response, "headers": {**response.get("headers", {}), **headers}}
