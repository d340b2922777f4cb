"""What the README tells a new user to write and type is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mainstay import sources, spec
from mainstay.cli.commands import COMMANDS
from tests.laws.reading import ROOT

PAGES = ["README.md", "SECURITY.md", "CONTRIBUTING.md"]


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_readmes_file_is_a_file(tmp_path: Path) -> None:
    (text,) = _blocks("README.md", "yaml")
    file = tmp_path / "mainstay.yaml"
    file.write_text(text, "utf-8")
    kinds = {kind: sources.options_of(kind) for kind in sources.BUILT_IN}
    loaded = spec.load(file, kinds=kinds, env={"CRM_URL": "postgresql://reader@127.0.0.1/crm"})
    assert loaded.name == "churn"
    assert set(loaded.datasets) == {"customers"}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"(?:^|`)mainstay ([a-z]+)", text, re.MULTILINE))
    assert not named - set(COMMANDS), f"{page} names commands that are not there: {sorted(named - set(COMMANDS))}"


def test_every_verb_that_a_page_names_is_in_the_makefile() -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / page).read_text("utf-8"), re.MULTILINE))
        assert not named - verbs, f"{page} names verbs that are not there: {sorted(named - verbs)}"


def test_every_defence_that_the_threat_model_names_has_a_test_that_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    named = set(re.findall(r"`(tests/[\w./]+)`", text))
    assert len(named) > 10
    assert not [one for one in sorted(named) if not (ROOT / one).exists()]
    tables = text.partition("## Who attacks")[2].partition("## What is not defended")[0]
    rows = [line for line in tables.splitlines() if line.startswith("| ") and not line.startswith("| attack")]
    assert not [row for row in rows if "`tests/" not in row.rpartition(" | ")[2]], "a defence without its test"
