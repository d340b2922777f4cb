"""What a person asks of `new`, and what its parts share while they work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mainstay.app.new.asking import Asker
from mainstay.app.new.looking import Look
from mainstay.core.clock import Clock

Say = Callable[[str], None]
"""Told what is being done now, for a line of progress."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks of `new`."""

    folder: Path
    source: str
    model: Path | None = None
    python: str | None = None
    example: Path | None = None
    trusted: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    maps: dict[str, str] = {}
    """Input of the model -> column or SQL expression."""
    said: dict[str, str] = {}
    """What the other options said: table, key, cursor, deletes, timezone, name, owner, output, label, constant, rule,
    problem, workflow."""
    port: int | None = None
    """Where the API listens; None: the default."""
    yes: bool = False


@dataclass
class Work:
    """One run of `new`."""

    wish: Wish
    look: Look
    ask: Asker
    say: Say
    clock: Clock
    home: Path
    """Where the lab's interpreter may be given what it lacks."""
