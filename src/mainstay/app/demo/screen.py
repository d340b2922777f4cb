"""What the story looks like on a terminal."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mainstay.app.demo.ask import Said


class Screen:
    """Prints the story and keeps count of what was expected and what came.

    Args:
        console: Where to.
        patient: Whether to wait for Enter between steps.
    """

    def __init__(self, console: Console, *, patient: bool) -> None:
        self.console = console
        self.patient = patient
        self.kept: list[str] = []
        self.broken: list[str] = []
        self._began = time.monotonic()

    def title(self, number: int, title: str, does: str) -> None:
        self.console.print()
        passed = time.monotonic() - self._began
        self.console.print(Rule(Text(f" {number}. {title} ", style="bold"), align="left", style="cyan"))
        self.console.print(Text(f"{does}  ({passed // 60:.0f}:{passed % 60:02.0f} into the story)", style="dim"))

    def fact(self, text: str) -> None:
        self.console.print(Text("  · ") + Text(text))

    def command(self, text: str, output: str = "") -> None:
        """A command that the reader could type, and what it printed."""
        self.console.print(Text("  $ ", style="dim") + Text(text, style="bold"), soft_wrap=True)
        for line in output.rstrip().splitlines():
            self.console.print(Text("    " + line, style="dim"), soft_wrap=True)

    def pair(self, when: str, glue: Said, mainstay: Said) -> None:
        """Both answers to one question, side by side."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", justify="right", min_width=18)
        table.add_column(min_width=8)
        table.add_column()
        table.add_row(when, Text("glue", style="yellow"), Text(glue.line))
        table.add_row("", Text("Mainstay", style="green"), Text(mainstay.line))
        self.console.print(table)

    def expect(self, kept: object, sentence: str) -> None:
        """A claim of the story, checked against what was seen."""
        (self.kept if kept else self.broken).append(sentence)
        mark, style = ("✓", "green") if kept else ("✗", "bold red")
        self.console.print(Text(f"  {mark} {sentence}", style=style))

    def pause(self) -> None:
        if self.patient:
            self.console.input(Text("  Enter: go on ", style="dim"))

    def close(self) -> None:
        """The sum of the story."""
        total = len(self.kept) + len(self.broken)
        lines = [Text(f"{len(self.kept)} of {total} claims came true in {time.monotonic() - self._began:.0f} s.")]
        lines += [Text(f"✗ {sentence}", style="red") for sentence in self.broken]
        self.console.print()
        self.console.print(Panel(Group(*lines), border_style="red" if self.broken else "green", expand=False))
