"""Which tests prove which promise, read from the tests' marks, and the lists of docs/promises.md made of it.

python -m tests.laws.promises     writes the lists anew
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

from tests.laws.reading import ROOT, Module, dotted, read_tests

PAGE = ROOT / "docs" / "promises.md"
_SECTION = re.compile(r"^## (\d+)\. ", re.MULTILINE)
_LIST = re.compile(r"(?:^- `tests/[^\n]*\n)+", re.MULTILINE)


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


def stated_promises(text: str) -> dict[int, set[str]]:
    """Promise number -> the tests that its section of the page names."""
    numbers, bodies = _SECTION.split(text)[1::2], _SECTION.split(text)[2::2]
    return {
        int(number): set(re.findall(r"^- `(tests/[^`]+)`", body, re.MULTILINE))
        for number, body in zip(numbers, bodies, strict=True)
    }


def rewritten(text: str, marks: Mapping[int, set[str]]) -> str:
    """The page with every section's list as the marks say."""
    parts = _SECTION.split(text)
    for place in range(1, len(parts), 2):
        body = _LIST.sub("", parts[place + 1]).rstrip("\n")
        lines = "".join(f"- `{name}`\n" for name in sorted(marks.get(int(parts[place]), ())))
        parts[place] = f"## {parts[place]}. "
        parts[place + 1] = body + "\n" + (f"\n{lines}" if lines else "") + "\n"
    return "".join(parts).rstrip("\n") + "\n"


def _module_marks(tree: ast.Module) -> list[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(dotted(target) == "pytestmark" for target in node.targets):
            return node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
    return []


def _numbers(decorators: list[ast.expr]) -> set[int]:
    calls = [node for node in decorators if isinstance(node, ast.Call) and dotted(node.func) == "pytest.mark.promise"]
    values = [argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant)]
    return {value for value in values if isinstance(value, int)}


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text("utf-8"), promise_marks(read_tests())), "utf-8")
