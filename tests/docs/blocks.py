"""What stands in fences on the pages, with what an HTML comment before a fence says of it.

| comment | means |
|---|---|
| `exits 1` | the `mainstay` lines of this block end with 1, not with 0 |
| `answers 409` | the `curl` lines of this block get this status, not 200 or 201 |
| `not run: why` | the block is shown, not typed |
| `before: LINE` | typed first, since the page takes it for granted |
| `before in the CRM: SQL` | the same in the old system |
| `file: NAME` | a file of the reader's, written into the folder |
| `aside` | of YAML: right by itself in the file, but not written into the file that the page goes on with |
| `in: model.post` | of YAML: where in the file it stands; keys of a dataset alone: `datasets.customers` |
| `with tickets` | of YAML: the file has the dataset `tickets` too |
| `not mainstay.yaml` | of YAML: another program's |
| `typed` | of Python: a program of the reader's, run as it stands |
| `in the CRM` | of SQL: typed by somebody in the old system |
| `prints` | of text: each line stands in what the commands before it printed; `...` stands for anything |
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.laws.reading import ROOT

DOCS = ROOT / "docs"
_FENCE = re.compile(r"((?:^<!--.*?-->\n+)*)^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"<!-- (.*?) -->")
KNOWN = re.compile(
    r"exits \d+|answers \d+|not run: .{3,}|before: .+|before in the CRM: .+|file: [\w.]+|aside|in: [\w.]+|with tickets"
    r"|not mainstay\.yaml|in the CRM|prints|typed|Made of .*"
)


class Block(NamedTuple):
    page: str
    """Path below docs/."""
    line: int
    language: str
    text: str
    notes: tuple[str, ...]

    @property
    def where(self) -> str:
        return f"docs/{self.page}:{self.line}"

    def all(self, start: str) -> list[str]:
        """What each comment that begins with `start` says behind it."""
        return [one.removeprefix(start).strip() for one in self.notes if one.startswith(start)]

    def note(self, start: str) -> str | None:
        """What the comment that begins with `start` says behind it; None where there is none."""
        return next(iter(self.all(start)), None)


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order. Fences start at the margin."""
    text = page.read_text("utf-8")
    name = page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else f"../{page.relative_to(ROOT)}"
    return [
        Block(name, text.count("\n", 0, found.start(2)) + 1, found[2], found[3], tuple(_NOTE.findall(found[1])))
        for found in _FENCE.finditer(text)
    ]


def lines(block: Block) -> list[str]:
    """The lines of a shell block as they are typed: continued ones joined, empty ones and comments left out."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
