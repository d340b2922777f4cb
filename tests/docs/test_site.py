"""The site is built without a warning and without the network, and asks nobody for anything when it is read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, pages
from tests.docs.hooks import hooks
from tests.laws.reading import ROOT

_LOADS = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="?((?:https?:)?//[^"\s>]+)"""
    r"""|<link\b(?![^>]*canonical)[^>]*\bhref="?((?:https?:)?//[^"\s>]+)"""
)
DEAD = "http://127.0.0.1:9"


def build(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and what was said. Whoever asks the network for anything finds nobody there."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), DEAD)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder), *arguments],
        cwd=ROOT, env={**os.environ, **proxies, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    code, said = build(folder)
    assert code == 0, said
    assert "WARNING" not in said, said
    return folder


def test_a_link_that_leads_nowhere_breaks_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README.md").write_text("# A\n\n[x](nowhere.md) [y](README.md#nothing)\n", "utf-8")
    shutil.copy(DOCS / "hooks.py", tmp_path / "docs")
    settings = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[0]
    (tmp_path / "mkdocs.yml").write_text(f"{settings}\nnav: ['*.md']\n", "utf-8")
    code, said = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert code == 1, said
    assert "nowhere.md" in said
    assert "#nothing" in said


def test_every_page_is_on_the_site_and_in_its_navigation(site: Path) -> None:
    home = (site / "index.html").read_text("utf-8")
    for page in pages():
        path = page.relative_to(DOCS)
        shown = path.with_name("index.html") if path.name == "README.md" else path.with_suffix(".html")
        assert (site / shown).is_file(), path
        assert f'href="{shown.as_posix()}"' in home, f"{path} is not in the navigation"


def loaded_from_elsewhere(text: str) -> list[str]:
    return [one or other for one, other in _LOADS.findall(text)]


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    broken = [
        f"{path.relative_to(site)}: {found}"
        for path in site.rglob("*.html")
        for found in loaded_from_elsewhere(path.read_text("utf-8"))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example.com/x.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example.com/css">',
        "<img src=//example.com/a.png>",
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(text: str) -> None:
    assert loaded_from_elsewhere(text)


def test_a_pattern_stands_for_pages_that_are_named_nowhere_else() -> None:
    nav = [{"A": ["a.md", "x/*.md"]}, {"B": [{"C": "x/b.md"}]}, {"Empty": ["z/*.md"]}, {"More": ["*.md"]}]
    assert hooks().expanded(nav, ["a.md", "new.md", "x/a.md", "x/b.md"]) == [
        {"A": ["a.md", "x/a.md"]}, {"B": [{"C": "x/b.md"}]}, {"More": ["new.md"]},
    ]  # fmt: skip


def test_links_out_of_the_docs_lead_to_the_repository() -> None:
    target = hooks().target
    assert target("../README.md", "a.md", "https://r") == "https://r/blob/main/README.md"
    assert target("../../src/x.py#L1", "how-to/a.md", "https://r") == "https://r/blob/main/src/x.py"
    assert target("../b.md#x", "how-to/a.md", "https://r") == "../b.md#x"
