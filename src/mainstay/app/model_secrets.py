"""The secrets of a model that is served elsewhere: kept as placeholders, looked up by whoever asks it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mainstay import spec
from mainstay.app.place import applied_record
from mainstay.core.errors import ModelAway
from mainstay.core.ports import State
from mainstay.models.registry import Secrets


def secrets_in(folder: str, env: Mapping[str, str]) -> Secrets:
    """Placeholders by this environment; files from the folder of mainstay.yaml on."""

    def value(text: str) -> str:
        try:
            return spec.plainly(text, Path(folder), env)
        except LookupError as error:
            raise ModelAway(f"the http model is not asked: {error}") from None

    return value


def secrets_of(state: State, env: Mapping[str, str]) -> Secrets:
    """The same, of the file that is applied when they are asked for."""

    def value(text: str) -> str:
        applied = applied_record(state)
        return secrets_in(applied.folder if applied is not None else "", env)(text)

    return value
