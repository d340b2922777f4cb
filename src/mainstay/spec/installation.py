"""installation.yaml: sources that several integrations share, so that one guard protects one database; and stores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mainstay.spec import document, secrets, sources
from mainstay.spec.faults import Faults
from mainstay.spec.plain import mapping
from mainstay.spec.shape import InstallationPart
from mainstay.spec.shape_faults import validated
from mainstay.store.installation import INSTALLATION

RELATIVE = f"../../{INSTALLATION}"
"""Where an integration's folder finds it; also its name among an integration's stored texts."""


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What installation.yaml gives to each of its integrations."""

    tree: dict[str, Any] = {}
    """Its sources as written."""
    options: dict[str, dict[str, Any]] = {}
    """The same with their options checked and placeholders replaced."""


def shared(text: str, folder: Path, *, kinds: Mapping[str, type[msgspec.Struct]], env: Mapping[str, str]) -> Shared:
    """The sources that installation.yaml says. Raises FileError with every fault.

    Args:
        text: Of installation.yaml.
        folder: Where it lies: relative `${file:path}` and paths start there.
        kinds: Kind of source -> its options record.
        env: Where `${VAR}` is looked for.
    """
    faults = Faults(INSTALLATION)
    tree = document.read(text, faults) or {}
    faults.raise_any()
    found = secrets.Secrets(folder, env, faults)
    written = mapping(tree.get("sources"))
    options = {
        name: sources.options(name, mapping(source), kinds=kinds, secrets=found, faults=faults)
        for name, source in written.items()
    }
    if "stores" in tree:  # What cannot be resolved is told with the rest; nothing of it is kept.
        found.resolved(tree["stores"], ("stores",))
    elif "sources" not in tree:
        mend = "add `sources: {crm: {kind: postgres, url: ${CRM_URL}}}`, say, or remove the file"
        faults.at((), "`sources:` or `stores:`, which integrations share", "neither", mend)
    secrets.refuse_outside(tree, (), faults)
    validated(tree, faults, InstallationPart)
    faults.raise_any()
    return Shared(tree=written, options=options)
