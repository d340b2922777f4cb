"""Importing a module defines things and does nothing: no thread, file, socket, environment or clock is touched.

The rule, on the syntax tree: what runs at import is the module's body and its classes' bodies. In there a call is
allowed when it builds a value (a class, or one of the functions listed); everything else needs its line in REASONED.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.laws.reading import Module, dotted, read_modules

BUILDERS = {
    "TypeAdapter", "attrgetter", "bytes", "cast", "compile", "crc32", "date", "datetime", "defstruct", "dict",
    "digest_text", "encode", "enumerate", "escape", "field", "float", "format", "fromkeys", "frozenset", "getLogger",
    "get_logger", "getattr", "int", "isinstance", "isoformat", "itemgetter", "items", "join", "keys", "len", "list",
    "lower", "maketrans", "max", "min", "namedtuple", "partial", "range", "replace", "set", "sorted", "split", "str",
    "strip", "sum", "timedelta", "tuple", "type", "union", "upper", "values", "zip", "with_name",
}  # fmt: skip
"""Functions that only compute a value from their arguments."""

ACTING_CLASSES = {
    "Thread",
    "Process",
    "Popen",
    "Pool",
    "ThreadPoolExecutor",
    "ProcessPoolExecutor",
    "TemporaryDirectory",
}
"""Classes whose constructor does something."""

READ_AT_IMPORT = {"os.environ", "sys.argv", "sys.stdin"}

REASONED: dict[str, str] = {}
"""`path:function called` -> why it may run at import."""

DOOR_REGISTRATION = {"add_typer", "command", "callback"}
"""Typer's way to say which commands there are; only in cli/."""


def _runs_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes evaluated when `node` is. Bodies of functions, lambdas and decorators are left out; defaults are not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for default in (*child.args.defaults, *child.args.kw_defaults):
                if default is not None:
                    yield default
                    yield from _runs_at_import(default)
            continue
        if isinstance(child, ast.Lambda):
            continue
        if isinstance(child, ast.ClassDef):
            yield from (inner for statement in child.body for inner in _runs_at_import(ast.Module([statement], [])))
            continue
        if isinstance(child, ast.If) and _only_when_run(child.test):
            continue
        yield child
        yield from _runs_at_import(child)


def _only_when_run(test: ast.expr) -> bool:
    """`if TYPE_CHECKING:` and `if __name__ == "__main__":`."""
    return dotted(test).endswith("TYPE_CHECKING") or (
        isinstance(test, ast.Compare) and dotted(test.left) == "__name__" and isinstance(test.ops[0], ast.Eq)
    )


def acts_at_import(module: Module) -> Iterator[str]:
    functions = {node.name: node for node in module.tree.body if isinstance(node, ast.FunctionDef)}
    yield from _acts(module, functions, module.tree, frozenset())


def _acts(
    module: Module, functions: Mapping[str, ast.FunctionDef], body: ast.AST, inside: frozenset[str]
) -> Iterator[str]:
    """What runs in `body`. A function of this very module may be called when its own body does nothing either."""
    for node in _runs_at_import(body):
        where = f"{module.path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.With | ast.AsyncWith | ast.While | ast.Await | ast.Global):
            yield f"{where}: a {type(node).__name__.lower()} statement runs at import"
        elif isinstance(node, ast.Attribute) and dotted(node) in READ_AT_IMPORT:
            yield f"{where}: {dotted(node)} is read at import"
        elif isinstance(node, ast.Call) and not _allowed(module, node):
            name = dotted(node.func)
            if name not in functions:
                yield f"{where}: {name or 'something'}() is called at import"
            elif name not in inside:
                called = ast.Module(functions[name].body, [])
                yield from _acts(module, functions, called, inside | {name})


def _allowed(module: Module, call: ast.Call) -> bool:
    name = dotted(call.func)
    last = name.rpartition(".")[2]
    if f"{module.path}:{name}" in REASONED:
        return True
    if module.folder == "cli" and (last in DOOR_REGISTRATION or name in {"typer.Option", "typer.Argument"}):
        return True
    if isinstance(call.func, ast.Call):  # app.command("name")(function)
        return module.folder == "cli" and _allowed(module, call.func)
    is_class = last.lstrip("_")[:1].isupper() and last not in ACTING_CLASSES
    return is_class or last in BUILDERS


def test_no_module_acts_at_import() -> None:
    broken = [line for module in read_modules() for line in acts_at_import(module)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "text",
    [
        "import threading\nthreading.Thread(target=print).start()\n",
        "DATA = open('x').read()\n",
        "import socket\nS = socket.create_connection(('a', 1))\n",
        "import os\nHOME = os.environ['HOME']\n",
        "import time\nSTARTED = time.time()\n",
        "import subprocess\nsubprocess.run(['ls'])\n",
        "from pathlib import Path\nTEXT = Path('x').read_text()\n",
        "class A:\n    x = open('x')\n",
        "def f(x=open('y')):\n    return x\n",
        "with open('x') as f:\n    y = 1\n",
        "if True:\n    connect()\n",
        "def build():\n    return open('x')\nX = build()\n",
        "def a():\n    return b()\ndef b():\n    return connect()\nX = a()\n",
        "from subprocess import Popen\nP = Popen(['ls'])\n",
    ],
)
def test_the_law_sees(text: str) -> None:
    assert list(acts_at_import(Module("store/x.py", text)))


@pytest.mark.parametrize(
    "text",
    [
        "import re\nA = re.compile('x')\nB = frozenset({1})\n",
        "def f():\n    return open('x')\n",
        "if __name__ == '__main__':\n    main()\n",
        "F = lambda: open('x')\n",
        "def words(text):\n    return frozenset(text.split())\nX = words('a b')\n",
        "def step(build):\n    def later():\n        return open('x')\n    return later\nX = step(str)\n",
        "class A(Struct, frozen=True):\n    x: Guard = Guard()\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import x\n",
    ],
)
def test_the_law_lets_definitions_be(text: str) -> None:
    assert not list(acts_at_import(Module("store/x.py", text)))


def test_registration_is_for_the_cli_alone() -> None:
    text = "import typer\napp = typer.Typer()\napp.command('why')(why)\n"
    assert not list(acts_at_import(Module("cli/main.py", text)))
    assert list(acts_at_import(Module("store/main.py", text)))
