"""docs/hooks.py as a module; MkDocs loads it by its path too."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from tests.docs.blocks import DOCS


def hooks() -> ModuleType:
    found = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
