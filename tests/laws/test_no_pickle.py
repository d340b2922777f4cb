"""Nothing that runs programs is read off a wire or out of a file, but where a model is one.

The lab's pickle is opened in one module alone: the host, a script that runs in a process of its own by the lab's
interpreter, after the digest of its artifact was compared. Of its functions the server imports those of the wire alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.laws.reading import Module, dotted, read_modules

RUN_PROGRAMS = {
    "_pickle", "cPickle", "cloudpickle", "dbm", "dill", "hickle", "jsonpickle", "joblib", "marshal", "multiprocessing",
    "pickle", "shelve", "skops", "torch",
}  # fmt: skip
"""Modules that make objects out of bytes by running what the bytes say, or send objects between processes so."""

CALLS = {
    "eval", "exec", "read_pickle", "to_pickle", "load_module", "extractall", "unpack_archive", "execfile",
    "unsafe_load", "full_load",
}  # fmt: skip
"""Functions that run what they are given, or write where an archive says."""

ALLOWED = {
    ("models/runtimes/python_torch.py", "torch"): "in that process, after every member of the archive was judged",
    ("models/runtimes/python_host.py", "pickle"): "the lab's model, its digest compared, in a process of its own",
    ("models/runtimes/python_host.py", "joblib"): "the same",
    ("models/runtimes/python_host.py", "skops"): "the same; only types that a person trusted",
    (
        "models/runtimes/python_folder.py",
        "extractall",
    ): "a folder that the import packed; in that process, names checked",
}
"""(module, what) -> why it may."""

HOST = "models/runtimes/python_host.py"


def found(module: Module) -> Iterator[tuple[str, str, int]]:
    """(module, what, line) of everything that can run a program out of bytes."""
    for node in ast.walk(module.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name.partition(".")[0] for one in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [(node.module or "").partition(".")[0]]
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            if called in {"eval", "exec"} or called.rpartition(".")[2] in CALLS - {"eval", "exec"}:
                names = [called.rpartition(".")[2]]
            if any(one.arg == "allow_pickle" for one in node.keywords):
                names.append("allow_pickle")
        for name in names:
            if name in RUN_PROGRAMS | CALLS | {"allow_pickle"}:
                yield module.path, name, node.lineno  # type: ignore[attr-defined]


def test_no_program_is_made_of_bytes_outside_of_the_models_own_process() -> None:
    every = [one for module in read_modules() for one in found(module)]
    wrong = [f"{path}:{line}: {what}" for path, what, line in every if (path, what) not in ALLOWED]
    assert not wrong, "only the model's own process may do this: " + ", ".join(wrong)
    unused = set(ALLOWED) - {(path, what) for path, what, _ in every}
    assert not unused, f"no longer needed: {unused}"


def openers() -> set[str]:
    """Functions of the host that open a pickle."""
    (host,) = [one for one in read_modules() if one.path == HOST]
    told = {line for _, what, line in found(host) if what in {"joblib", "skops"}}
    made = set()
    for node in host.tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            calls = [dotted(one.func) for one in ast.walk(node) if isinstance(one, ast.Call)]
            lines = {line for line in told if node.lineno <= line <= (node.end_lineno or 0)}
            if lines or any(one.startswith(("pickle.", "joblib.", "skops.")) for one in calls):
                made.add(node.name)
    return made


def test_the_server_takes_the_frames_of_the_wire_from_the_host_and_never_what_opens_pickles() -> None:
    opening = openers()
    assert opening, "the host opens pickles somewhere"
    for module in read_modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("python_host"):
                taken = opening & {one.name for one in node.names}
                assert not taken, f"{module.path}:{node.lineno} imports {taken}"
            elif isinstance(node, ast.ImportFrom | ast.Import):
                whole = [one.name for one in node.names if one.name.rpartition(".")[2] == "python_host"]
                assert not whole, f"{module.path}:{node.lineno} imports the host as a whole"


def test_the_law_sees_what_it_forbids() -> None:
    text = """
import pickle, os
from joblib import load
import torch.nn
def f(tar, frame): tar.extractall("x"); eval("1"); frame.eval("a"); numpy.load("x", allow_pickle=True)
pd.read_pickle("x")
"""
    seen = {what for _, what, _ in found(Module("x.py", text))}
    assert seen == {"pickle", "joblib", "torch", "extractall", "eval", "allow_pickle", "read_pickle"}
