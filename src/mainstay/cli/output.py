"""How commands print: tables and findings for people, one document for programs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import FileError, MainstayError
from mainstay.core.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

COLOURS = {
    Verdict.PASS: "green",
    Verdict.WARN: "yellow",
    Verdict.UNKNOWN: "magenta",
    Verdict.ERROR: "bright_red",
    Verdict.FAIL: "red",
}
_MEND = 8
"""Where the mend of a finding begins, and where its sentence goes on."""
_HANG = re.compile(r" *(?:→ |\S+ {2,})?")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that steer a terminal, or turn the order of what it shows; lines and tabs are none of them."""
_INSTANT = re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.\d{6}Z$")


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
        """A line for people; not read as markup. Where it is broken, it goes on below its first words."""
        if self.json:
            return
        from rich.text import Text

        text = seen(text)
        self._hung(Text(text, style=style or ""), min(_hang_of(text), 40))

    def paste(self, text: str, *, style: str | None = None) -> None:
        """A command or a key that is copied: never broken, whatever the screen."""
        if not self.json:
            self.console.print(seen(text), style=style, markup=False, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
        """Rows under headings. A Verdict is coloured, numbers stand right, None is empty, instants are cut to seconds.

        On a screen too narrow for it columns that say nothing are left out; then each row stands below the other.
        """
        if self.json:
            return
        from mainstay.cli.tables import laid_out, tightened

        listed = [list(row) for row in rows]
        texts = [[_cell(value) for value in row] for row in listed]
        layout = laid_out([list(columns), *texts], self.console.width - 2)
        if layout is None:
            self._below(columns, listed, texts, title)
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(title) if title else None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False,
            padding=(0, layout.gap - 2, 0, 1) if layout.gap > 2 else (0, 1, 0, 0),
        )  # fmt: skip
        for at, width in zip(layout.columns, layout.widths, strict=True):
            numeric = bool(listed) and all(isinstance(row[at], (int, float)) for row in listed)
            table.add_column(columns[at], justify="right" if numeric else "left", overflow="fold", width=width)
        for row, said in zip(listed, texts, strict=True):
            table.add_row(
                *(
                    Text(tightened(said[at]) if layout.tight else said[at], style=_style(row[at]))
                    for at in layout.columns
                )
            )
        self.console.print(table)

    def _below(self, columns: Sequence[str], rows: list[list[object]], texts: list[list[str]], title: str) -> None:
        """A line for each value, a blank line between rows."""
        from rich.text import Text

        longest = max(map(len, columns))
        if title:
            self.console.print(Text(title, style="bold"))
        for row, said in zip(rows, texts, strict=True):
            self.console.print()
            for name, value, text in zip(columns, row, said, strict=True):
                if text:
                    line = Text.assemble((f"{name:<{longest}}  ", "bold"), (text, _style(value)))
                    self._hung(line, longest + 2)
        self.console.print()

    def findings(self, findings: Iterable[Finding]) -> None:
        """Each finding with its evidence and mend, the worst first."""
        if self.json:
            return
        from rich.text import Text

        for finding in sorted(findings, key=lambda each: -each.verdict.rank):
            line = Text.assemble((f"{finding.verdict:<8}", COLOURS[finding.verdict]), seen(f"{finding.check}  "))
            self._hung(line.append(seen(finding.sentence)), _MEND)
            if finding.mend:
                self._hung(Text(seen(f"{' ' * _MEND}→ {finding.mend}")), _MEND + 2)

    def _hung(self, text: Text, indent: int) -> None:
        """Prints a line; where the screen breaks it, what follows stands `indent` columns in."""
        from rich.text import Text

        wide = self.console.width
        if text.cell_len <= wide and "\n" not in text.plain:
            self.console.print(text, soft_wrap=True)
            return
        first, *more = text.wrap(self.console, wide) or [Text()]
        self.console.print(first, soft_wrap=True)
        if not more:
            return
        rest = text[len(first.plain) :]
        while rest.plain[:1] in (" ", "\n"):
            rest = rest[1:]
        for line in rest.wrap(self.console, max(wide - indent, 20)):
            self.console.print(Text(" " * indent).append(line), soft_wrap=True)


def seen(text: str) -> str:
    """The text with what a terminal would obey written out: callers and sources write into what we show."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_json(value: Any) -> None:
    """One JSON document and a newline on stdout."""
    encoded = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2)
    sys.stdout.write(seen(encoded.decode()) + "\n")
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
    return f"{value:,}" if isinstance(value, int) else _INSTANT.sub(r"\1 \2Z", seen(str(value)))


def _hang_of(text: str) -> int:
    """Where a broken line goes on: below what follows its own indent, its arrow, or its first word and two blanks."""
    found = _HANG.match(text)
    return found.end() if found else 0


def _style(value: object) -> str:
    return COLOURS[value] if isinstance(value, Verdict) else ""
