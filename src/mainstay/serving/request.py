"""What a caller asks, read strictly: every refusal names the field, what was wanted, what came, the close match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from mainstay.core.errors import MainstayError

T = TypeVar("T", bound=msgspec.Struct)
Scalar = str | int | float | bool | None
Key = str | int | dict[str, Scalar]
"""A business key: its value, or an object with a value for each key column."""
KEYS_MOST = 1000
ROWS_MOST = 1000
DEPTH_MOST = 32


class BadRequest(MainstayError):
    """The request itself is wrong; nothing was judged and no receipt was written.

    `status` is 400 for what is not JSON and 422 for JSON that does not fit.
    """

    def __init__(self, sentence: str, *, mend: str = "", where: str = "", status: int = 422) -> None:
        super().__init__(sentence, mend=mend, where=where)
        self.status = status


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `key`, `keys` and `rows`. Nesting ends with the types, so no body can be too deep."""

    key: Key | msgspec.UnsetType = msgspec.UNSET
    keys: list[Key] | msgspec.UnsetType = msgspec.UNSET
    rows: list[dict[str, Scalar]] | msgspec.UnsetType = msgspec.UNSET
    inputs: dict[str, Scalar] | None = None
    """Request-time inputs, where the file allows them; they go to every key of the request."""


class Together(msgspec.Struct, frozen=True, kw_only=True):
    """Keys or rows that are answered all or none. One of the two lists is empty; both are bounded by the reader."""

    keys: list[Key] = []
    sent: list[dict[str, Scalar]] = []
    """Request-time inputs, one object for each key; empty: none were sent."""
    rows: list[dict[str, Scalar]] = []
    where: str = "rows"
    """What errors call the list."""


class DecisionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    receipt: str
    decision: str
    reason: str = ""
    by: str = ""
    id: str = ""


class CardTokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backend asks a card's token for."""

    key: Key
    user: str
    """Whose decisions these will be."""
    ttl: int = 900
    """Seconds."""
    inputs: dict[str, Scalar] | None = None
    """Request-time inputs, where the file allows them."""


class CardDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A decision by a card: whose it is stands in the token."""

    receipt: str
    decision: str
    reason: str = ""
    id: str = ""


class OutcomeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    receipt: str
    outcome: Scalar
    observed_at: str = ""
    id: str = ""


_WANTED = {
    "key": "a string, an integer or an object with the key's columns",
    "keys": "a list of strings, integers or objects with the key's columns",
    "rows": "a list of objects with plain values",
    "inputs": "an object with plain values",
    "receipt": "a string",
    "decision": "a string",
    "reason": "a string",
    "by": "a string",
    "id": "a string",
    "outcome": "a plain value",
    "observed_at": "a string",
    "user": "a string",
    "ttl": "whole seconds",
}
_predict = msgspec.json.Decoder(PredictRequest)
_decision = msgspec.json.Decoder(DecisionRequest)
_outcome = msgspec.json.Decoder(OutcomeRequest)
_card_token = msgspec.json.Decoder(CardTokenRequest)
_card_decision = msgspec.json.Decoder(CardDecision)


def read_predict(body: bytes) -> PredictRequest:
    """The request in `body` (JSON). Raises BadRequest."""
    request = _read(_predict, PredictRequest, body)
    if request.key is not msgspec.UNSET and request.keys is msgspec.UNSET and request.rows is msgspec.UNSET:
        return request
    given = [name for name in ("key", "keys", "rows") if getattr(request, name) is not msgspec.UNSET]
    if len(given) != 1:
        came = " and ".join(f"`{name}`" for name in given) or "none of them"
        raise BadRequest(f"wanted exactly one of `key`, `keys` and `rows`, found {came}", mend='send {"key": "..."}')
    _bounded(request)
    return request


def _bounded(request: PredictRequest) -> None:
    for name, most in (("keys", KEYS_MOST), ("rows", ROWS_MOST)):
        items = getattr(request, name)
        if items is msgspec.UNSET:
            continue
        if not items:
            raise BadRequest(f"`{name}` is empty", mend="send at least one", where=name)
        if len(items) > most:
            mend = f"send them in requests of at most {most}"
            raise BadRequest(f"`{name}` has {len(items)} items, wanted at most {most}", mend=mend, where=name)
    if request.rows is not msgspec.UNSET and request.inputs is not None:
        raise BadRequest("`inputs` goes with keys; rows carry every input themselves", where="inputs")


def read_decision(body: bytes) -> DecisionRequest:
    """The request in `body` (JSON). Raises BadRequest."""
    return _read(_decision, DecisionRequest, body)


def read_outcome(body: bytes) -> OutcomeRequest:
    """The request in `body` (JSON). Raises BadRequest."""
    return _read(_outcome, OutcomeRequest, body)


def read_card_token(body: bytes) -> CardTokenRequest:
    """The request in `body` (JSON). Raises BadRequest."""
    return _read(_card_token, CardTokenRequest, body)


def read_card_decision(body: bytes) -> CardDecision:
    """The request in `body` (JSON). Raises BadRequest."""
    return _read(_card_decision, CardDecision, body)


def _read(decoder: msgspec.json.Decoder[T], kind: type[T], body: bytes) -> T:
    """The request in `body`. Raises BadRequest, which says what is wrong."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        try:
            return msgspec.convert(_whole(msgspec.json.decode(body)), kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise explain(body, kind, error) from None


def _whole(raw: Any) -> Any:
    """The body with whole numbers where it has 7.0: JSON has one kind of number, and schemas call both integers."""
    if not isinstance(raw, dict):
        return raw
    found = {name: whole(value) if name in ("key", "ttl") else value for name, value in raw.items()}
    if isinstance(keys := raw.get("keys"), list):
        found["keys"] = [whole(key) for key in keys]
    return found


def whole(value: Any) -> Any:
    """7 for 7.0; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def explain(body: bytes, kind: type[msgspec.Struct], error: Exception) -> BadRequest:
    """Why `body` does not fit `kind`, told so that the caller can mend it; the values themselves are not repeated."""
    try:
        raw = opened(body, mend='send {"key": "..."}')
    except BadRequest as wrong:
        return wrong
    return misnamed(raw, kind, _WANTED) or _misfit(raw, error)


def opened(body: bytes, *, mend: str) -> dict[str, Any]:
    """The JSON object in `body`, within the depth that is read. Raises BadRequest; `mend`: where it is no object."""
    try:
        raw = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise BadRequest(f"the body is not JSON: {broken}", mend="send a JSON object", status=400) from None
    if deeper(raw, DEPTH_MOST):
        raise _too_deep()
    if not isinstance(raw, dict):
        raise BadRequest(f"wanted a JSON object, found {came(raw)}", mend=mend)
    return raw


def _too_deep() -> BadRequest:
    return BadRequest(f"the body is nested deeper than {DEPTH_MOST} levels", status=400)


def misnamed(
    raw: Mapping[str, Any], kind: type[msgspec.Struct], wanted: Mapping[str, str], what: str = "field"
) -> BadRequest | None:
    """Of a field that `kind` does not have, or of one that it needs and is not there; None where there is neither.

    `what`: how callers call it.
    """
    fields = msgspec.structs.fields(kind)
    known = [field.name for field in fields]
    for name in raw:
        if name not in known:
            return unknown_field(name, known, what=what)
    for field in fields:
        if field.required and field.name not in raw:
            return BadRequest(f"`{field.name}` is missing, wanted {wanted[field.name]}", where=field.name)
    return None


def _misfit(raw: Mapping[str, Any], error: Exception) -> BadRequest:
    text = str(error)
    path = text.rpartition(" - at `$.")[2].rstrip("`") if " - at `$." in text else ""
    name = path.partition("[")[0].partition(".")[0]
    if name not in raw:
        return BadRequest("the body does not fit what this route takes", mend="see /docs")
    value: Any = raw[name]
    where = name
    if isinstance(value, list) and name in ("keys", "rows"):
        for index, item in enumerate(value):
            if not _plain(item, name):
                return BadRequest(
                    f"`{name}[{index}]`: wanted {_item(name)}, found {came(_inner(item))}", where=f"{name}[{index}]"
                )
    return BadRequest(f"`{where}`: wanted {_WANTED[name]}, found {came(_inner(value))}", where=where)


def _item(name: str) -> str:
    return f"{_WANTED['key']}" if name == "keys" else "an object with plain values"


def _plain(item: object, name: str) -> bool:
    if name == "keys" and not isinstance(item, dict):
        return isinstance(item, str | int) and not isinstance(item, bool)
    return isinstance(item, dict) and not any(isinstance(value, dict | list) for value in item.values())


def _inner(value: object) -> object:
    """The value that is too deep inside an object, else the value."""
    if isinstance(value, dict):
        for inner in value.values():
            if isinstance(inner, dict | list):
                return inner
    return value


def deeper(value: object, left: int) -> bool:
    """Whether JSON is nested more than `left` levels deep."""
    if not isinstance(value, dict | list):
        return False
    if left == 0:
        return True
    parts: Iterable[object] = value.values() if isinstance(value, dict) else value
    return any(deeper(part, left - 1) for part in parts)


def unknown_field(name: str, known: Iterable[str], where: str = "", what: str = "field") -> BadRequest:
    """A field nobody knows, with the close match among `known`."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    mend = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(f'`{each}`' for each in names) or 'none'}"
    shown = name[:60]
    return BadRequest(f"unknown {what} `{shown}`", mend=mend, where=f"{where}{shown}")


def came(value: object) -> str:
    """The JSON type of `value` in words, never the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number with a fraction"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
