"""Which API contract, which language, which file; and the file itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mainstay.app.client import python, typescript
from mainstay.app.client.shapes import Shapes, shapes
from mainstay.core.errors import NotFound, Refused
from mainstay.serving import contract as api_contract
from mainstay.serving.contract import ApiContract

MARK = "Made by Mainstay"
"""Stands in the first line of every client; a file without it is somebody's own."""


class Language(NamedTuple):
    ending: str
    template: str
    """Beside this module."""
    parts: Callable[[Shapes], dict[str, str]]


LANGUAGES: dict[str, Language] = {
    "python": Language("py", "python.txt", python.parts),
    "typescript": Language("ts", "typescript.txt", typescript.parts),
}


def find_contract(folder: Path, api: int | None = None) -> ApiContract:
    """The API contract of this version in the folder of a mainstay.yaml, else the newest. Raises NotFound."""
    if api is not None:
        return api_contract.read(api_contract.path_of(folder, api))
    found = [int(name[1]) for path in folder.glob("contracts/api-*.json") if (name := _NAME.fullmatch(path.name))]
    if not found:
        raise NotFound(
            "there is no API contract yet", where=str(folder / "contracts"), mend="the first `mainstay apply` writes it"
        )
    return api_contract.read(api_contract.path_of(folder, max(found)))


_NAME = re.compile(r"api-([0-9]{1,5})\.json")


def file_name(contract: ApiContract, language: str) -> str:
    """`churn_client.py`."""
    return f"{contract.integration.replace('-', '_')}_client.{LANGUAGES[language].ending}"


def text_of(contract: ApiContract, language: str) -> str:
    """The whole client."""
    made = LANGUAGES[language]
    text = (Path(__file__).parent / made.template).read_text()
    parts = {"NAME": contract.integration, "API": str(contract.api), "MARK": MARK, **made.parts(shapes(contract))}
    for name, part in parts.items():
        text = text.replace(f"@@{name}@@", part)
    return text


def write(path: Path, text: str, *, force: bool) -> bool:
    """Writes the client; False where it stands there already. Raises Refused for a file that is somebody's own."""
    if path.is_file():
        there = path.read_text(errors="replace")
        if there == text:
            return False
        if MARK not in there[:1_000] and not force:
            raise Refused("the file is none that Mainstay made", where=str(path), mend="name another --out, or --force")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        why = (error.strerror or "I/O error").lower()
        raise Refused(f"the client cannot be written: {why}", where=str(path), mend="name a folder by --out") from None
    return True
