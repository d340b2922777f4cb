"""A command over every integration of an installation: one that fails does not keep the others from it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mainstay.cli.output import error_document, seen, write_json
from mainstay.cli.session import Session
from mainstay.core.errors import MainstayError


def each(
    session: Session,
    one: Callable[[Session], int],
    whole: Callable[[Sequence[Path]], tuple[int, dict[str, Any]]] = lambda _files: (0, {}),
) -> int:
    """Calls `one` with a session for each integration that is meant; returns the highest exit code.

    `whole` is asked of several together, after each: it gives an exit code, and what more the document says.

    With `--json` and several integrations one document is printed: {"integrations": [{"folder", "answer"}]}, the answer
    being what the command prints for one, or its error.
    """
    files = session.find_files()
    if len(files) == 1:
        return one(session)
    answers: list[dict[str, Any]] = []
    worst = 0
    for file in files:
        said: list[Any] = []
        mine = dataclasses.replace(session, file=file, sink=said)
        mine.out.say(f"── {file.parent.name}", style="bold blue")
        try:
            code = one(mine)
        except MainstayError as error:
            code = error.exit_code
            said = [error_document(error)]
            if not session.json:
                sys.stderr.write(seen(f"{error}\n"))
        worst = max(worst, code)
        answers.append({"folder": file.parent.name, "answer": said[0] if said else None})
    code, more = whole(files)
    if session.json:
        write_json({"integrations": answers, **more})
    return max(worst, code)
