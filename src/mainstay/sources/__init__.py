"""Legacy systems -> batches of rows. One file per system; what each can do is in its capabilities record.

A kind of source is a class with `Options` (a record), `capabilities`, and `__init__(config, options, clock)`; the
rest is `core.ports.Source`. Third parties come in by the entry point group `mainstay.sources`, name ->
"module:Class", by the same door as the built-in ones.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, cast

import msgspec

from mainstay.core.clock import Clock
from mainstay.core.errors import SourceRefused
from mainstay.core.nouns import SourceConfig
from mainstay.core.ports import Capabilities, Source
from mainstay.sources.missing import closest

BUILT_IN = {
    "files": "mainstay.sources.files:FilesSource",
    "postgres": "mainstay.sources.postgres:PostgresSource",
    "sqlite": "mainstay.sources.sqlite:SqliteSource",
}

GROUP = "mainstay.sources"


class SourceClass(Protocol):
    """What a kind's "module:Class" names. Its module imports its driver only when a source is opened or read."""

    Options: ClassVar[type[msgspec.Struct]]
    capabilities: Capabilities

    def __call__(self, config: SourceConfig, options: Any, clock: Clock) -> Source: ...


def kinds() -> dict[str, str]:
    """Every kind that can be opened here, built in or installed: name -> "module:Class". A built-in name is kept."""
    return _installed(tuple(sys.path)) | BUILT_IN


@lru_cache(maxsize=1)  # it reads the metadata of every installed package: 8 ms each time
def _installed(path: tuple[str, ...]) -> dict[str, str]:  # noqa: ARG001 - what can be found hangs on it
    return {entry.name: entry.value for entry in entry_points(group=GROUP)}


def class_of(kind: str) -> SourceClass:
    """The class behind a kind. Raises SourceRefused for an unknown one."""
    known = kinds()
    if kind not in known:
        meant = closest(kind, known)
        mend = f"did you mean {meant!r}?" if meant else "there are " + ", ".join(sorted(known))
        raise SourceRefused(f"there is no kind of source called {kind!r}", mend=mend)
    module, _, name = known[kind].partition(":")
    try:
        return cast("SourceClass", getattr(import_module(module), name))
    except (ImportError, AttributeError) as error:
        raise SourceRefused(f"kind {kind!r} is {known[kind]}, which cannot be loaded: {error}") from error


def options_of(kind: str) -> type[msgspec.Struct]:
    """The options record of a kind: what `sources.X` may say besides kind, timezone and guard."""
    return class_of(kind).Options


def open_source(config: SourceConfig, clock: Clock) -> Source:
    """The source that `config` describes, not yet connected. Raises SourceRefused for options that do not fit."""
    found = class_of(config.kind)
    try:
        options = msgspec.convert(config.options, found.Options)
    except msgspec.ValidationError as error:
        # The message names the field and the types, never the value.
        raise SourceRefused(f"its options do not fit: {error}", where=f"source {config.name}") from None
    return found(config, options, clock)
