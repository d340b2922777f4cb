"""How commands print: tables and findings for people, one document for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import FileError, MainstayError
from mainstay.core.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {
    Verdict.PASS: "green",
    Verdict.WARN: "yellow",
    Verdict.UNKNOWN: "magenta",
    Verdict.ERROR: "bright_red",
    Verdict.FAIL: "red",
}


class Output:
    """Prints to stdout. With `json` only `document` prints, and once; into `sink`, where there is one."""

    def __init__(self, *, json: bool, sink: list[Any] | None = None) -> None:
        self.json = json
        self._sink = sink
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """Rich's console, for what has no method here. Wraps at 200 columns where there is no terminal."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 200)
        return self._console

    def document(self, value: Any) -> None:
        """With `--json` the whole answer, as records, dicts, lists and plain values. Without it: nothing."""
        if self.json and self._sink is not None:
            self._sink.append(value)
        elif self.json:
            write_json(value)

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """A line for people; not read as markup."""
        if not self.json:
            self.console.print(text, style=style, markup=False)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
        """Rows under headings. A Verdict is coloured, numbers stand right, None is empty."""
        if self.json:
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        listed = [list(row) for row in rows]
        table = Table(title=Text(title) if title else None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
        for index, column in enumerate(columns):
            numeric = bool(listed) and all(isinstance(row[index], (int, float)) for row in listed)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in listed:
            table.add_row(*(Text(_cell(value), style=_style(value)) for value in row))
        self.console.print(table)

    def findings(self, findings: Iterable[Finding]) -> None:
        """Each finding with its evidence and mend, the worst first."""
        if self.json:
            return
        from rich.text import Text

        for finding in sorted(findings, key=lambda each: -each.verdict.rank):
            line = Text.assemble((f"{finding.verdict:<8}", COLOURS[finding.verdict]), f"{finding.check}  ")
            self.console.print(line.append(finding.sentence))
            if finding.mend:
                self.console.print(Text(f"        → {finding.mend}"))


def write_json(value: Any) -> None:
    """One JSON document and a newline on stdout."""
    encoded = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2)
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


def error_document(error: MainstayError) -> dict[str, Any]:
    """What `--json` prints in place of an answer."""
    told: dict[str, Any] = {
        "type": type(error).__name__,
        "sentence": error.sentence,
        "mend": error.mend,
        "where": error.where,
        "exit_code": error.exit_code,
    }
    if isinstance(error, FileError):
        told["sentence"] = error.sentence.split("\n", 1)[0]
        told["problems"] = [asdict(problem) for problem in error.problems]
    return {"error": told}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _style(value: object) -> str:
    return COLOURS[value] if isinstance(value, Verdict) else ""
