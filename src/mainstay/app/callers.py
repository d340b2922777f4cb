"""Who still calls what: the workers' counts by the names of their API keys."""

from __future__ import annotations

import msgspec

from mainstay.core.calls import SPACE, Calls
from mainstay.core.ports import StateReader
from mainstay.core.records import ApiKey
from mainstay.serving.keys import list_keys


class CallerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One caller of one version through one door."""

    caller: str
    """The API key's name; empty where the key is no longer known."""
    key: str
    """Its id."""
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


def _line(one: Calls, key: ApiKey | None) -> CallerLine:
    return CallerLine(
        caller=key.name if key else "",
        key=one.caller,
        revoked=key is not None and key.revoked_us is not None,
        api=one.api,
        door=one.door,
        model_version=one.model_version,
        requests=one.requests,
        first_us=one.first_us,
        last_us=one.last_us,
    )
