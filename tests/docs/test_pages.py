"""What the pages show works: files load, commands exist, and the how-to pages are typed from top to bottom."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from mainstay.cli.commands import COMMANDS, chosen, load
from mainstay.core.errors import FileError
from mainstay.testing.postgres import Database, PostgresServer
from tests.docs.blocks import DOCS, KNOWN, Block, blocks, lines, pages
from tests.docs.files import base, loaded, read, with_block
from tests.docs.stranger import CRM, Stranger
from tests.laws.reading import ROOT

ALL = [block for page in pages() for block in blocks(page)]
LONGEST_PAGE = 400
"""Lines. A page past this wants to be two."""
LOOKED_UP = {"cli.md", "file.md"}
"""Pages, like the generated ones, in which things are looked up, not read: every command, every setting."""


def _named(block: Block) -> str:
    return f"{block.page}:{block.line}"


# --- every page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [one for one in ALL if one.language == "yaml"], ids=_named)
def test_yaml_is_a_file_or_a_part_of_one(block: Block) -> None:
    faults_of_yaml(block)


def faults_of_yaml(block: Block) -> None:
    """Raises where the block is not what the page says."""
    if block.note("not mainstay.yaml") is not None:
        read(block.text)
        return
    sql = next((one.text for one in ALL if one.page == block.page and one.language == "sql"), "")
    try:
        loaded(with_block(base(), block), sql)
    except FileError as error:
        pytest.fail(f"{block.where}: {error}", pytrace=False)


def typed(block: Block) -> Iterator[list[str]]:
    """The words of each `mainstay` line of a block."""
    for line in lines(block):
        if line.startswith("mainstay ") and "│" not in line:
            yield shlex.split(line, comments=True)[1:]


COMMAND_LINES = [one for one in (*ALL, *blocks(ROOT / "README.md")) if one.language in {"sh", ""}]


@pytest.mark.parametrize("block", COMMAND_LINES, ids=_named)
def test_each_command_line_is_one(block: Block) -> None:
    for words in typed(block):
        faults_of_line(words, block.where)


def faults_of_line(words: list[str], where: str) -> None:
    """Raises where there is no such command, or where it does not take these words."""
    words = words[: next((number for number, word in enumerate(words) if word in {">", "&", "|"}), None)]
    name, rest = chosen(words)
    assert name in COMMANDS, f"{where}: there is no command {name!r}"
    command: Any = load(name)
    if hasattr(command, "commands"):
        assert rest, f"{where}: `mainstay {words[0]}` wants a command"
        assert rest[0] in command.commands, f"{where}: there is no `mainstay {words[0]} {rest[0]}`"
        command, rest = command.commands[rest[0]], rest[1:]
    try:
        command.make_context(words[0], rest)
    except Exception as error:
        raise AssertionError(f"{where}: mainstay {shlex.join(words)}: {error}") from error


def test_comments_before_blocks_are_known() -> None:
    unknown = [f"{one.where}: {note}" for one in ALL for note in one.notes if not KNOWN.fullmatch(note)]
    assert not unknown, "\n".join(unknown)


def test_no_page_is_longer_than_one_reads() -> None:
    lengths = {page.relative_to(DOCS).as_posix(): len(page.read_text("utf-8").splitlines()) for page in pages()}
    long = {
        name: count
        for name, count in lengths.items()
        if count > LONGEST_PAGE and not name.startswith("reference/") and name not in LOOKED_UP
    }
    assert not long, f"split these pages: {long}"


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as both the site and the repository make them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings]
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


def test_every_link_to_a_heading_leads_to_one() -> None:
    broken = []
    for page in [*pages(), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for link, anchor in re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", page.read_text("utf-8")):
            target = (page.parent / link).resolve() if link else page
            if target.suffix == ".md" and anchor not in _anchors(target):
                broken.append(f"{page.relative_to(ROOT)}: {link}#{anchor}")
    assert not broken, "\n".join(broken)


# --- the how-to pages, typed ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        server.create_database("crm").exec(CRM)
        yield server


@pytest.mark.parametrize("page", sorted((DOCS / "how-to").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_typed_from_top_to_bottom_works(page: Path, server: PostgresServer, tmp_path: Path) -> None:
    name = page.stem.replace("-", "_")
    server.exec(f'CREATE DATABASE "{name}" TEMPLATE crm')
    uses_lab = "lab/" in page.read_text("utf-8")
    with Stranger(tmp_path, Database(server, name), uses_lab=uses_lab) as reader:
        for block in blocks(page):
            reader.does(block)


REFERENCE = [
    page
    for page in (*pages(), ROOT / "README.md")
    if page.parent.name != "how-to"
    and any(one.language == "sh" and one.note("not run:") is None for one in blocks(page))
]


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_the_commands_of_a_page_that_explains_work(page: Path, server: PostgresServer, tmp_path: Path) -> None:
    """Such a page is no story: its YAML is read by the test above, and counts here where it is a whole file."""
    name = f"page_{page.stem.replace('-', '_')}".lower()
    server.exec(f'CREATE DATABASE "{name}" TEMPLATE crm')
    uses_lab = "lab/" in page.read_text("utf-8")
    with Stranger(tmp_path, Database(server, name), uses_lab=uses_lab) as reader:
        for block in blocks(page):
            if block.language != "yaml" or read(block.text).get("integration"):
                reader.does(block)


# --- the tests can fail --------------------------------------------------------------------------------------------


def _block(language: str, text: str, *notes: str) -> Block:
    return Block("x.md", 1, language, text, notes)


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("integration: churn\n", ()),  # a whole file without its needed parts
        ("datasets:\n  customers:\n    evry: 10s\n", ()),
        ("threshold: {at: 0.6, above: high, below: low}\n", ()),  # does not say where it stands
        ("freshness: {warn: 5}\n", ("in: datasets.customers",)),
        ("answer: {on_warn: shout}\n", ()),
    ],
)
def test_wrong_yaml_is_found(text: str, notes: tuple[str, ...]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        faults_of_yaml(_block("yaml", text, *notes))


@pytest.mark.parametrize(
    "line", ["mainstay chek", "mainstay model ad x", "mainstay up --wokers 2", "mainstay why", "mainstay model"]
)
def test_a_wrong_command_line_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        faults_of_line(line.split()[1:], "x.md:1")


@pytest.mark.parametrize(
    "block",
    [
        _block("sh", "mainstay status\n"),  # exits 4: nothing is applied
        _block("sh", "make test\n"),
        _block("text", "what nothing printed\n", "prints"),
        _block("sh", "curl -s http://127.0.0.1:8700/v1/churn/predict -d '{}'\n"),
        _block("sh", "mainstay schema\n", "exits 1"),
    ],
)
def test_a_page_that_does_not_work_is_found(block: Block, server: PostgresServer, tmp_path: Path) -> None:
    with Stranger(tmp_path, Database(server, "crm")) as reader, pytest.raises((AssertionError, URLError)):
        reader.does(block)
