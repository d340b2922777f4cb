"""The pages of docs/reference, made of the code: what the code does not say, they do not say.

python -m tests.docs.reference     writes them anew
"""

from __future__ import annotations

from collections.abc import Callable

from tests.docs import reference_code, reference_data, reference_settings
from tests.laws.reading import ROOT

FOLDER = ROOT / "docs" / "reference"
_NOTE = "<!-- Made of the code by `python -m tests.docs.reference`. Change the code, then make it anew. -->"

PAGES: dict[str, Callable[[], str]] = {
    "settings.md": reference_settings.settings,
    "commands.md": reference_settings.commands,
    "checks.md": reference_data.checks,
    "cleanings.md": reference_data.cleanings,
    "events.md": reference_code.events,
    "errors.md": reference_code.errors,
    "problems.md": reference_code.problem_types,
    "metrics.md": reference_code.metrics,
}
"""File -> what makes it, heading first."""


def made(page: str) -> str:
    """The page as the code says now."""
    heading, _, body = PAGES[page]().partition("\n")
    return f"{heading}\n\n{_NOTE}\n{body.rstrip()}\n"


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for page in PAGES:
        (FOLDER / page).write_text(made(page), "utf-8")


if __name__ == "__main__":
    write()
