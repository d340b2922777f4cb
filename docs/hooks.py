"""What MkDocs is told in Python: which pages a pattern of the navigation stands for, where links out of docs/ lead."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\]\((?!\w+:|/|#)([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Patterns of the navigation become pages."""
    folder = Path(config.docs_dir)
    pages = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.md"))
    config.nav = expanded(config.nav, pages)
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """A link to a file outside docs/ leads to the repository: the site has pages only."""
    return _LINK.sub(lambda found: f"]({target(found[1], page.file.src_uri, config.repo_url)})", markdown)


def expanded(nav: Any, pages: list[str]) -> Any:
    """The navigation with each pattern replaced by the pages that it matches and that are named nowhere else."""
    rest = [page for page in pages if page not in set(_named(nav))]

    def grown(node: Any) -> list[Any]:
        if isinstance(node, str) and "*" in node:
            found = [page for page in rest if fnmatch.fnmatchcase(page, node)]
            rest[:] = [page for page in rest if page not in found]
            return [*found]
        if isinstance(node, dict):
            sections = {name: _flat(grown, child) for name, child in node.items()}
            return [{name: children} for name, children in sections.items() if children]
        return [node]

    return _flat(grown, nav)


def target(link: str, page: str, repository: str) -> str:
    """The link of a page as the site needs it. `page` is its path below docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link.partition("#")[0]))
    return link if path.startswith("docs/") else f"{repository}/blob/main/{path}"


def _flat(grown: Any, children: Any) -> Any:
    return children if isinstance(children, str) else [one for child in children for one in grown(child)]


def _named(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for child in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _named(child)
