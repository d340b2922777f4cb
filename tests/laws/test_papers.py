"""The papers: the docs index, the dependencies, the promises, and what no tracked file may hold."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.laws.reading import ROOT, Module, dotted, read_tests, tracked_files

DOCS = ROOT / "docs"
MACHINE_PATH = re.compile(r"(?<![\w.}~-])/(?:root|home|work|Users)/[\w.-]+")
LEFT_OVER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplemented" + r"Error)\b")
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


def promise_marks(modules: Iterable[Module]) -> dict[int, set[str]]:
    """Promise number -> names of the tests (`path::test`) that carry `@pytest.mark.promise(number)`."""
    marks: dict[int, set[str]] = {}
    for module in modules:
        whole = _numbers(_module_marks(module.tree))
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for number in whole | _numbers(node.decorator_list):
                    marks.setdefault(number, set()).add(f"tests/{module.path}::{node.name}")
    return marks


def _module_marks(tree: ast.Module) -> list[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(dotted(target) == "pytestmark" for target in node.targets):
            return node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
    return []


def _numbers(decorators: list[ast.expr]) -> set[int]:
    calls = [node for node in decorators if isinstance(node, ast.Call) and dotted(node.func) == "pytest.mark.promise"]
    values = [argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant)]
    return {value for value in values if isinstance(value, int)}


def stated_promises(text: str) -> dict[int, set[str]]:
    """Promise number -> the tests that its section of docs/promises.md names."""
    sections = re.split(r"^## (\d+)\. ", text, flags=re.MULTILINE)
    numbers, bodies = sections[1::2], sections[2::2]
    return {
        int(number): set(re.findall(r"`(tests/[^`]+::test_\w+)`", body))
        for number, body in zip(numbers, bodies, strict=True)
    }


def test_every_promise_is_proved_by_the_tests_that_it_names() -> None:
    stated = stated_promises((DOCS / "promises.md").read_text("utf-8"))
    marked = promise_marks(read_tests())
    unproved = sorted(number for number in stated if not marked.get(number))
    assert not unproved, f"promises without a test that carries @pytest.mark.promise(n): {unproved}"
    for number in sorted(set(stated) | set(marked)):
        missing, stale = (
            marked.get(number, set()) - stated.get(number, set()),
            stated.get(number, set()) - marked.get(number, set()),
        )
        assert not missing, f"docs/promises.md, promise {number}, does not name {sorted(missing)}"
        assert not stale, f"docs/promises.md, promise {number}, names tests that are not there: {sorted(stale)}"


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
    assert stated_promises("# P\n## 1. One\n`tests/a.py::test_x`\n## 2. Two\nnothing\n") == {
        1: {"tests/a.py::test_x"},
        2: set(),
    }
    marked = Module(
        "a.py", "import pytest\n@pytest.mark.promise(3)\ndef test_x() -> None: ...\ndef test_y() -> None: ...\n"
    )
    whole = Module(
        "b.py", "import pytest\npytestmark = [pytest.mark.promise(4)]\nclass T:\n    def test_z(self) -> None: ...\n"
    )
    assert promise_marks([marked, whole]) == {3: {"tests/a.py::test_x"}, 4: {"tests/b.py::test_z"}}
