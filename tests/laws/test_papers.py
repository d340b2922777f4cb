"""The papers: the docs index, the dependencies, the promises, and what no tracked file may hold."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.laws.promises import PAGE, promise_marks, rewritten, stated_promises
from tests.laws.reading import ROOT, Module, read_tests, tracked_files

DOCS = ROOT / "docs"
MACHINE_PATH = re.compile(r"(?<![\w.}~-])/(?:root|home|work|Users)/[\w.-]+")
LEFT_OVER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|raise NotImplemented" + r"Error)\b")
TEXT_SUFFIXES = {
    ".py",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".sql",
    ".json",
    ".html",
    ".css",
    ".js",
    ".cfg",
    ".txt",
    ".sh",
    "",
}


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    linked = set(re.findall(r"\]\(([^)#]+\.md)[^)]*\)", index))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"README.md"}
    assert not pages - linked, f"docs/README.md does not name {sorted(pages - linked)}"
    assert not {page for page in linked - pages if not page.startswith("../")}, "docs/README.md names absent pages"


def _links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" not in target and not target.startswith(("#", "mailto:")):
            yield target.partition("#")[0]


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [path for path in tracked_files() if path.suffix == ".md"]
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in _links(page)
        if not (page.parent / link).exists()
    ]
    assert not broken, "\n".join(broken)


def declared_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lists = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
        project["build-system"]["requires"],
    ]
    names = {re.split(r"[\[<>=~! ;]", line, maxsplit=1)[0] for lines in lists for line in lines}
    return names - {"mainstay"}


def documented_dependencies(text: str) -> set[str]:
    """First cells of the tables' rows, in backticks."""
    return {
        name for row in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }


def test_every_dependency_has_its_row_and_every_row_its_dependency() -> None:
    documented = documented_dependencies((DOCS / "dependencies.md").read_text("utf-8"))
    declared = declared_dependencies()
    assert not declared - documented, f"docs/dependencies.md has no row for {sorted(declared - documented)}"
    assert not documented - declared, f"docs/dependencies.md has rows for {sorted(documented - declared)}"


def test_every_promise_is_proved_by_the_tests_that_its_section_names() -> None:
    text = PAGE.read_text("utf-8")
    stated, marked = stated_promises(text), promise_marks(read_tests())
    assert sorted(stated) == list(range(1, 9)), "the eight promises of the design"
    assert not set(marked) - set(stated), f"tests prove promises that nobody gave: {sorted(set(marked) - set(stated))}"
    unproved = sorted(number for number in stated if not marked.get(number))
    assert not unproved, f"promises without a test that carries @pytest.mark.promise(n): {unproved}"
    assert rewritten(text, marked) == text, "run `python -m tests.laws.promises` and read what changed"


def faults_of_text(text: str) -> list[str]:
    return [*MACHINE_PATH.findall(text), *LEFT_OVER.findall(text)]


def test_no_tracked_file_holds_a_path_of_one_machine_or_a_thing_left_over() -> None:
    broken = []
    for path in tracked_files():
        if path.suffix in TEXT_SUFFIXES and path.name not in {"uv.lock", "LICENSE"}:
            broken += [f"{path.relative_to(ROOT)}: {fault}" for fault in faults_of_text(path.read_text("utf-8"))]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "text", ["see /" + "root/x", "cd '/" + "home/ann'", "# TO" + "DO: later", "raise NotImplemented" + "Error"]
)
def test_the_law_of_tracked_files_can_be_broken(text: str) -> None:
    assert faults_of_text(text)


@pytest.mark.parametrize("text", ["GET /v1/home/x", "~/home/x", "the work is done", "https://example.com/home/x"])
def test_the_law_of_tracked_files_lets_the_rest_be(text: str) -> None:
    assert not faults_of_text(text)


def test_the_readers_of_the_papers_read() -> None:
    assert documented_dependencies("| `a` | x |\n| `b`, `c-d` | y |\n") == {"a", "b", "c-d"}
    page = "# P\n\n## 1. One\n\nText.\n\n- `tests/a.py::test_old`\n\n## 2. Two\n\nMore.\n"
    assert stated_promises(page) == {1: {"tests/a.py::test_old"}, 2: set()}
    renewed = rewritten(page, {2: {"tests/b.py::test_y", "tests/a.py::test_x"}})
    assert (
        renewed == "# P\n\n## 1. One\n\nText.\n\n## 2. Two\n\nMore.\n\n- `tests/a.py::test_x`\n- `tests/b.py::test_y`\n"
    )
    assert rewritten(renewed, {2: {"tests/b.py::test_y", "tests/a.py::test_x"}}) == renewed
    marked = Module(
        "a.py", "import pytest\n@pytest.mark.promise(3)\ndef test_x() -> None: ...\ndef test_y() -> None: ...\n"
    )
    whole = Module(
        "b.py", "import pytest\npytestmark = [pytest.mark.promise(4)]\nclass T:\n    def test_z(self) -> None: ...\n"
    )
    assert promise_marks([marked, whole]) == {3: {"tests/a.py::test_x"}, 4: {"tests/b.py::test_z"}}
