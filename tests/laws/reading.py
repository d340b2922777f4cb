"""What the laws read: every module of the source as text and as a syntax tree."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "mainstay"
NOT_OURS = "app/demo/churn/"
"""What the demo's users wrote: a training script and the glue of today. Run as scripts, never imported."""


@dataclass(frozen=True)
class Module:
    """One Python file. `path` is relative to src/mainstay, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def folder(self) -> str:
        """The first folder below src/mainstay; empty for a file that lies there itself."""
        return self.path.split("/")[0] if "/" in self.path else ""


@cache
def read_modules(folder: Path = SOURCE) -> tuple[Module, ...]:
    """Every Python file below `folder`."""
    files = sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
    modules = [Module(path.relative_to(folder).as_posix(), path.read_text("utf-8")) for path in files]
    return tuple(module for module in modules if not module.path.startswith(NOT_OURS))


def read_tests() -> tuple[Module, ...]:
    """Every Python file below tests, paths relative to tests."""
    return read_modules(ROOT / "tests")


def tracked_files() -> list[Path]:
    """The files that git keeps; every file outside hidden folders where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        found = (path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.parts))
        return sorted(path for path in found if path.is_file())
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a name or an attribute of one; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else node.attr
    return ""
