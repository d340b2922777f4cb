"""Who still calls what: the workers' counts by the names of their API keys."""

from __future__ import annotations

import msgspec

from mainstay.app.place import applied_record, read_applied
from mainstay.core.calls import SPACE, Calls
from mainstay.core.errors import MainstayError
from mainstay.core.nouns import Retired
from mainstay.core.ports import State, StateReader
from mainstay.core.records import ApiKey
from mainstay.serving.keys import known_by, list_keys


class CallerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One caller of one version through one door."""

    caller: str
    """The name of the API key or certificate, or the issuer of its token; empty where the key is no longer known."""
    key: str
    """The id that its receipts have."""
    revoked: bool
    api: int
    door: str
    model_version: int
    requests: int
    first_us: int
    last_us: int


def callers(state: StateReader, *, since_us: int = 0) -> tuple[CallerLine, ...]:
    """Who called since then, the last one first."""
    keys: dict[str, ApiKey] = {key.id: key for key in list_keys(state)}
    found = [msgspec.json.decode(item.body, type=Calls) for item in state.scan(SPACE)]
    lines = [_line(one, keys.get(one.caller)) for one in found if one.last_us >= since_us]
    return tuple(sorted(lines, key=lambda line: (-line.last_us, line.caller, line.api, line.door)))


def retired(state: State) -> Retired | None:
    """What the applied file says; nothing where it cannot be read here, for want of a `${VAR}` say."""
    try:
        applied = applied_record(state)
        return None if applied is None else read_applied(applied).retired
    except MainstayError:
        return None


def _line(one: Calls, key: ApiKey | None) -> CallerLine:
    how, name = known_by(one.caller)
    return CallerLine(
        caller=key.name if key else {"certificate": name, "token": f"by a token of {name}"}.get(how, ""),
        key=one.caller,
        revoked=key is not None and key.revoked_us is not None,
        api=one.api,
        door=one.door,
        model_version=one.model_version,
        requests=one.requests,
        first_us=one.first_us,
        last_us=one.last_us,
    )
