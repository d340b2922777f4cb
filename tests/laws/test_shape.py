"""Names, sizes, imports and exceptions: what keeps the code readable."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

import pytest

from tests.laws.reading import SOURCE, Module, read_modules

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
LONGEST_FILE = 500
LONGEST_FUNCTION = 50

LONG_FILES: dict[str, str] = {
    "core/ports.py": "every seam on one page",
}
"""Path -> why this file may be longer than 500 lines."""

LONG_FUNCTIONS: dict[str, str] = {}
"""`path:function` -> why it may be longer than 50 lines."""

FROM_FACADE = {"__version__", *(path.stem for path in SOURCE.iterdir())}
"""Folders below it are not the facade: `from mainstay import spec` is the same as `import mainstay.spec`."""

PICKLE_READERS = {
    "models/runtimes/python_host.py": "runs in the lab's interpreter, never in ours",
}
PICKLE_LIBRARIES = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve"}

BROAD_ALLOWED = ("app/loop", "cli/", "http/", "grpc/", "web/", "models/runtimes/python_host.py")
"""The heart, the doors, and the one file that calls a lab's model."""
REASONED_BROAD = re.compile(r"#\s*(?:noqa:\s*BLE001\b\W*)?(?!noqa)\w+\W+\w+\W+\w+")
"""A comment of three words or more on the line, the rule's own name not counted."""


def banned_names(module: Module) -> Iterator[str]:
    parts = set(module.path.removesuffix(".py").split("/"))
    for part in sorted(parts & BANNED_NAMES):
        yield f"{module.path}: nothing is called {part}; name it after what it is about"


def long_files(module: Module) -> Iterator[str]:
    if len(module.lines) > LONGEST_FILE and module.path not in LONG_FILES:
        yield f"{module.path}: {len(module.lines)} lines; split it or give its reason in LONG_FILES"


def long_functions(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            name = f"{module.path}:{node.name}"
            if length > LONGEST_FUNCTION and name not in LONG_FUNCTIONS:
                yield f"{name}: {length} lines; split it or give its reason in LONG_FUNCTIONS"


def facade_imports(module: Module) -> Iterator[str]:
    """`mainstay/__init__.py` is for users. Of what it defines, the inside may ask for the version number alone."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name == "mainstay"]
        elif isinstance(node, ast.ImportFrom) and node.module == "mainstay" and not node.level:
            names = [alias.name for alias in node.names if alias.name not in FROM_FACADE]
        else:
            continue
        for name in names:
            yield f"{module.path}:{node.lineno}: imports {name} from the facade; name the module itself"


def pickle_imports(module: Module) -> Iterator[str]:
    if module.path in PICKLE_READERS:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if name.split(".")[0] in PICKLE_LIBRARIES:
                yield f"{module.path}:{node.lineno}: imports {name}; only the lab's interpreter unpickles"


def broad_excepts(module: Module) -> Iterator[str]:
    if module.path.startswith(BROAD_ALLOWED):
        return
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {name.id for name in caught if isinstance(name, ast.Name)}
        broad = node.type is None or names & {"Exception", "BaseException"}
        passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if broad and not passes_on and not REASONED_BROAD.search(module.lines[node.lineno - 1]):
            yield f"{module.path}:{node.lineno}: broad except without a reason on its line (`# noqa: BLE001 - why`)"


LAWS: list[Callable[[Module], Iterator[str]]] = [
    banned_names,
    long_files,
    long_functions,
    facade_imports,
    pickle_imports,
    broad_excepts,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_source_keeps(law: Callable[[Module], Iterator[str]]) -> None:
    broken = [line for module in read_modules() for line in law(module)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("law", "path", "text"),
    [
        (banned_names, "store/utils.py", ""),
        (banned_names, "helpers/x.py", ""),
        (long_files, "store/x.py", "x = 1\n" * 501),
        (long_functions, "store/x.py", "def f():\n" + "    x = 1\n" * 50),
        (long_functions, "store/x.py", "class A:\n    async def f(self):\n" + "        x = 1\n" * 50),
        (facade_imports, "store/x.py", "import mainstay\n"),
        (facade_imports, "store/x.py", "def f():\n    from mainstay import Installation\n"),
        (pickle_imports, "models/x.py", "import pickle\n"),
        (pickle_imports, "models/x.py", "def f():\n    from joblib import load\n"),
        (broad_excepts, "store/x.py", "try:\n    x = 1\nexcept Exception:\n    x = 2\n"),
        (broad_excepts, "store/x.py", "try:\n    x = 1\nexcept:\n    x = 2\n"),
        (broad_excepts, "store/x.py", "try:\n    x = 1\nexcept (OSError, BaseException):  # noqa: BLE001\n    x = 2\n"),
    ],
)
def test_each_law_can_be_broken(law: Callable[[Module], Iterator[str]], path: str, text: str) -> None:
    assert list(law(Module(path, text)))


@pytest.mark.parametrize(
    ("law", "path", "text"),
    [
        (banned_names, "quality/helpfulness.py", ""),
        (long_functions, "store/x.py", "def f():\n" + "    x = 1\n" * 49),
        (facade_imports, "cli/x.py", "import mainstay.core.ids\nfrom mainstay import __version__\n"),
        (pickle_imports, "models/runtimes/python_host.py", "import pickle\n"),
        (broad_excepts, "app/loop.py", "try:\n    x = 1\nexcept Exception:\n    x = 2\n"),
        (
            broad_excepts,
            "a/b.py",
            "try:\n    x = 1\nexcept Exception:  # noqa: BLE001  a plug-in may raise anything\n    x = 2\n",
        ),
        (broad_excepts, "a/b.py", "try:\n    x = 1\nexcept BaseException:\n    x = 2\n    raise\n"),
        (broad_excepts, "a/b.py", "try:\n    x = 1\nexcept Exception:  # their errors share no base\n    x = 2\n"),
        (broad_excepts, "a/b.py", "try:\n    x = 1\nexcept (OSError, ValueError):\n    x = 2\n"),
    ],
)
def test_no_law_forbids_too_much(law: Callable[[Module], Iterator[str]], path: str, text: str) -> None:
    assert not list(law(Module(path, text)))


def test_every_exception_is_still_needed() -> None:
    modules = {module.path: module for module in read_modules()}
    stale = [path for path in LONG_FILES if path not in modules or len(modules[path].lines) <= LONGEST_FILE]
    for name in LONG_FUNCTIONS:
        path, _, function = name.partition(":")
        lengths = [
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in ast.walk(modules[path].tree if path in modules else ast.Module([], []))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
        ]
        if not any(length > LONGEST_FUNCTION for length in lengths):
            stale.append(name)
    assert not stale, f"take these out of the lists of exceptions: {stale}"
