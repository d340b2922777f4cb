"""Takes htmx into the wheel, out of the one package of the registry that carries it as it is released.

It is code of somebody else, so it is not kept here; it comes with the build's requirements (pyproject.toml) and lands
beside the status page's own files, in a wheel as in a checkout.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CARRIER = "django_htmx"
"""Only its files are used; nothing of it, or of Django, is imported."""


class Htmx(BuildHookInterface):  # type: ignore[type-arg]
    """Hatch finds it by its being the only one here."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Copies the file and lets the wheel take it though git does not know it."""
        del version
        spec = find_spec(CARRIER)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"{CARRIER}, a requirement of the build, is not there")
        source = Path(next(iter(spec.submodule_search_locations)), "static", CARRIER, "htmx-4.min.js")
        target = Path(self.root, "src", "mainstay", "web", "static", "htmx.min.js")
        shutil.copyfile(source, target)
        build_data["artifacts"].append(target.relative_to(self.root).as_posix())
