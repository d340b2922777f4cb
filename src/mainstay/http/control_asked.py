"""What a caller of the control API sends, as a JSON body or behind `?`, read strictly: faults name the field."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec

from mainstay.core.rate import PATTERN, WANTED
from mainstay.serving.request import BadRequest, came, misnamed, opened, whole

T = TypeVar("T", bound="Asked")

FIELDS_MOST = 20
SPAN = r"^([0-9]{1,9}(ms|s)|[0-9]{1,6}m|[0-9]{1,5}h|[0-9]{1,4}d)$"

TEXT_MOST = 1_000
Text = Annotated[str, msgspec.Meta(max_length=TEXT_MOST)]
Reason = Annotated[str, msgspec.Meta(max_length=1_000, pattern=r"[^\s\x00-\x20\x7f-\xa0]")]
Span = Annotated[str, msgspec.Meta(pattern=SPAN)]
Days = Annotated[int, msgspec.Meta(ge=1, le=36_500)]
Ids = Annotated[list[Text], msgspec.Meta(max_length=1_000)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000)]

DESCRIBED = {
    "name": "a text of 1 to 200 characters: who will use it",
    "role": "`predict`, `operate` or `admin`",
    "days": "whole days from 1 to 36500 until it expires, or null",
    "rate": f"{WANTED}, or null",
    "overlap": "how long the old secret is still taken, such as 1h, or 0s",
    "datasets": "a list of at most 1000 names of datasets; empty: all of them",
    "dry_run": "true or false: read and judge, land nothing",
    "ids": "a list of 1 to 1000 ids such as customers/12/3; where a replay has none: every row",
    "dataset": "the name of a dataset",
    "key": "the key of a row as a text, or null",
    "reason": "a text that says why, of at most 1000 characters",
    "through": "the number of a batch: also every waiting one up to it, or null",
    "all": "true or false: also rows that were replayed, superseded or discarded",
    "limit": "a whole number from 1 to 1000",
    "personal": "true or false: also values of columns marked `pii`, for role admin",
    "waiting": "true or false: only batches that are not settled",
    "what": "the beginning of what was done: key, model.use",
    "by": "a part of who did it",
    "object": "a part of what was changed",
    "since": "only the newest of so long: 7d, 12h",
    "head": "a hash that an earlier answer told, kept elsewhere",
}
"""Every field: what is wanted of it."""


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing; a body may be left out, or be an empty object."""


class NewKey(Asked, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    role: Literal["predict", "operate", "admin"] = "predict"
    days: Days | None = None
    rate: Annotated[str, msgspec.Meta(pattern=PATTERN)] | None = None


class NewSecret(Asked, frozen=True, kw_only=True):
    overlap: Span = "1h"
    days: Days | None = None


class RunAsked(Asked, frozen=True, kw_only=True):
    datasets: Ids = []
    dry_run: bool = False


class ReplayAsked(Asked, frozen=True, kw_only=True):
    ids: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=1_000)] | None = None
    dataset: Text | None = None
    key: Text | None = None


class DiscardAsked(Asked, frozen=True, kw_only=True):
    ids: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=1_000)]
    reason: Reason


class ReleaseAsked(Asked, frozen=True, kw_only=True):
    reason: Reason
    through: Annotated[int, msgspec.Meta(ge=1, le=999_999_999)] | None = None


class ReasonAsked(Asked, frozen=True, kw_only=True):
    reason: Reason


class QuarantineAsked(Asked, frozen=True, kw_only=True):
    dataset: Text | None = None
    all: bool = False
    limit: Limit = 50
    personal: bool = False


class BatchesAsked(Asked, frozen=True, kw_only=True):
    dataset: Text | None = None
    waiting: bool = False
    limit: Limit = 30


class AuditAsked(Asked, frozen=True, kw_only=True):
    what: Text = ""
    by: Text = ""
    object: Text = ""
    since: Span | None = None
    limit: Limit = 100


class VerifyAsked(Asked, frozen=True, kw_only=True):
    head: Text = ""


def read_body(kind: type[T], body: bytes) -> T:
    """The body as a record; none is as an empty object. Raises BadRequest."""
    raw = opened(body if body.strip() else b"{}", mend="see /control/openapi.json")
    return _read(kind, {name: whole(value) for name, value in raw.items()})


def read_query(kind: type[T], query: bytes) -> T:
    """What stands behind `?` as a record. Raises BadRequest."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_MOST)
    except ValueError:
        raise BadRequest(f"wanted at most {FIELDS_MOST} query parameters") from None
    known = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name in given:
            raise BadRequest(f"the query parameter `{name[:60]}` came twice", mend="send each once", where=name[:60])
        given[name] = _typed(known.get(name), value)
    return _read(kind, given, "query parameter")


def _typed(kind: Any, text: str) -> object:
    """A text behind `?` as the type that is wanted, where it is one; else as it is, to be refused."""
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind is int and text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    return text


def _read(kind: type[T], raw: Mapping[str, Any], what: str = "field") -> T:
    try:
        return msgspec.convert(dict(raw), kind)
    except msgspec.ValidationError as error:
        raise _misfit(kind, raw, str(error), what) from None


def _misfit(kind: type[Asked], raw: Mapping[str, Any], said: str, what: str) -> BadRequest:
    """Why it does not fit; the values themselves are not repeated."""
    other = misnamed(raw, kind, DESCRIBED, what)
    if other is not None:
        return other
    path = said.rpartition(" - at `$.")[2].rstrip("`")
    name = path.partition("[")[0].partition(".")[0]
    if name not in raw:
        return BadRequest("this does not fit what the route takes", mend="see /control/openapi.json")
    found = _found(raw[name], typing.get_type_hints(kind)[name], sized=" of length " in said)
    called = f"`{name}`" if what == "field" else f"the {what} `{name}`"
    return BadRequest(f"{called}: wanted {DESCRIBED[name]}, found {found}", where=name)


def _found(value: object, wanted: Any, *, sized: bool) -> str:
    """What came, in words: its type where that is wrong, else what about it is. `sized`: its length is."""
    several = typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    kinds = {typing.get_origin(one) or one for one in several}
    match value:
        case "":
            return "an empty text"
        case str() if int in kinds:
            return "a number out of bounds" if value.removeprefix("-").isdigit() else "a text that is no whole number"
        case str() if bool in kinds:
            return "neither"
        case str() if Literal in kinds:
            return "none of them"
        case str() if str in kinds:
            return f"a text of {len(value)} characters" if sized else "a text of another form"
        case int() if int in kinds and not isinstance(value, bool):
            return "a number out of bounds"
        case list() if list in kinds:
            return _list(value)
        case _:
            return came(value)


def _list(value: list[Any]) -> str:
    """What about a list is wrong: an item, else how many there are."""
    for place, item in enumerate(value, start=1):
        if not isinstance(item, str):
            return f"a list with {came(item)} at place {place}"
        if len(item) > TEXT_MOST:
            return f"a list with a text of {len(item)} characters at place {place}"
    return f"a list of {len(value)}" if value else "an empty list"
