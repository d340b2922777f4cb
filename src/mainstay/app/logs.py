"""What the processes write to their output: sentences for a person, or one JSON object a line for a machine.

Set by the environment, because a service manager or a container starts `mainstay up`; children inherit it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from mainstay.app.log_lines import FORMAT
from mainstay.core.clock import Clock, iso
from mainstay.core.errors import Refused

LEVEL = "MAINSTAY_LOG_LEVEL"
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FORMATS = ("text", "json")


def configure(env: Mapping[str, str]) -> None:
    """Sets what this process logs, for good. Raises Refused for a value that is none."""
    level, shape = settings(env)
    last = (
        [structlog.processors.JSONRenderer()]
        if shape == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
    )
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
    )


def settings(env: Mapping[str, str]) -> tuple[str, str]:
    """Level and format. Raises Refused for a value that is none."""
    level = (env.get(LEVEL) or "info").lower()
    shape = (env.get(FORMAT) or "text").lower()
    for name, value, known in ((LEVEL, level, tuple(LEVELS)), (FORMAT, shape, FORMATS)):
        if value not in known:
            raise Refused(f"{name} is {value!r}", mend=f"one of {', '.join(known)}")
    return level, shape


class Output(Protocol):
    """What lines are written to."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


def sayer(env: Mapping[str, str], clock: Clock, out: Output) -> Callable[[str], None]:
    """What `mainstay up` tells its operator with: lines, or the same as JSON. Not subject to a level."""
    _, shape = settings(env)

    def say(line: str) -> None:
        if shape == "json":
            line = json.dumps({"event": line, "level": "info", "timestamp": iso(clock.now_us()), "process": "up"})
        out.write(line + "\n")
        out.flush()

    return say
