"""Who calls what: a small record in state for each caller of each version, kept by the workers."""

from __future__ import annotations

import msgspec

SPACE = "callers"


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """What one API key asked of one model version, through one door, under one version of the API contract."""

    v: int = 1
    caller: str
    """The API key's id."""
    api: int
    """The API contract's version: `api:` of the file at that time."""
    door: str
    """`v1`, `card`, `oip`, `mlflow` or `grpc`."""
    model_version: int
    requests: int
    """Requests for an answer, refused ones too; a request of many keys counts once."""
    first_us: int
    last_us: int
    """Of a worker's last look at its counts: at most ten seconds late."""

    @property
    def name(self) -> str:
        """Its name in state."""
        return f"{self.caller}|{self.api}|{self.door}|{self.model_version}"
