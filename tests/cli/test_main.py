from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from mainstay import __version__
from mainstay.cli import commands
from mainstay.cli.commands import COMMANDS, Entry, load
from mainstay.cli.main import main
from mainstay.cli.session import Session
from mainstay.core.errors import FileError, NotFound, Problem, Refused

THIS = "commands_under_test"


def seen(ctx: typer.Context, key: str, *, often: int = 1) -> int:
    """A command that tells what it was called with. Example: mainstay seen K"""
    session: Session = ctx.obj
    session.out.document({"key": key, "often": often, "home": session.home, "file": session.file})
    session.out.say(f"{key} {often} [not markup]")
    return often - 1


def refuse() -> None:
    raise Refused("it would break a promise", mend="leave it", where="the file")


def faulty() -> None:
    raise FileError((Problem("mainstay.yaml", 3, 4, "api", "a whole number", "'x'", "write 1"),))


def broken() -> None:
    raise ZeroDivisionError("the secret is 42")


def stop() -> None:
    raise typer.Exit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


group = typer.Typer(help="Several commands.")


@group.command("list")
def listed(ctx: typer.Context) -> None:
    session: Session = ctx.obj
    session.out.document({"json": session.json})


@group.command()
def show(name: str) -> None:
    raise NotFound(f"there is no {name}")


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table with this module's commands: what a plug-in author would write."""
    monkeypatch.setitem(sys.modules, THIS, sys.modules[__name__])
    for name in ("seen", "refuse", "faulty", "broken", "stop", "interrupt", "group"):
        monkeypatch.setitem(commands.COMMANDS, name, Entry(f"{THIS}:{name}", "A command."))


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    told = capsys.readouterr()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, told.out, told.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "--home", "h", "-f", "x.yaml", "seen", "K", "--often", "1"],
        ["seen", "K", "--json", "--home", "h", "--file", "x.yaml"],
        ["--home", "other", "seen", "--json", "--home", "h", "K", "-f", "x.yaml"],
    ],
)
def test_the_options_of_every_command_stand_before_or_behind_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    assert json.loads(out) == {"key": "K", "often": 1, "home": "h", "file": "x.yaml"}


def test_without_json_a_person_reads_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "seen", "K") == (0, "K 1 [not markup]\n", "")


def test_what_a_command_returns_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "seen", "K", "--often", "3")[0] == 2
    assert call(capsys, "stop")[0] == 3
    assert call(capsys, "interrupt")[0] == 130


def test_commands_of_a_group_have_the_options_too(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["group", "list", "--json"], ["group", "--json", "list"], ["--json", "group", "list"]):
        assert json.loads(call(capsys, *arguments)[1]) == {"json": True}
    code, out, err = call(capsys, "group", "show", "seven")
    assert (code, out, err) == (4, "", "there is no seven\n")


def test_an_error_is_its_sentence_and_its_mend(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "refuse") == (3, "", "the file: it would break a promise\n  → leave it\n")


def test_an_error_is_a_document_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "refuse", "--json")
    assert (code, err) == (3, "")
    assert json.loads(out) == {
        "error": {
            "type": "Refused",
            "sentence": "it would break a promise",
            "mend": "leave it",
            "where": "the file",
            "exit_code": 3,
        }
    }


def test_the_problems_of_a_file_are_told_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "faulty")
    assert code == 2
    assert "mainstay.yaml:3:4: api: wanted a whole number, found 'x'\n  → write 1" in err
    told = json.loads(call(capsys, "--json", "faulty")[1])["error"]
    assert told["sentence"] == "1 problem in the file"
    assert told["problems"][0]["line"] == 3


def test_a_fault_of_ours_is_one_sentence_without_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "broken")
    assert (code, out) == (70, "")
    assert (
        err == "Mainstay itself failed: ZeroDivisionError\n  → run it again with --debug to see where, and report it\n"
    )
    assert "Traceback" in call(capsys, "broken", "--debug")[2]


@pytest.mark.parametrize(
    ("arguments", "sentence", "mend"),
    [
        (["sen"], "there is no command 'sen'", "did you mean `mainstay seen`?"),
        (["xyzzy"], "there is no command 'xyzzy'", "mainstay --help"),
        (["seen"], "Missing argument", "mainstay seen --help"),
        (["seen", "K", "--oftn", "2"], "No such option: --oftn", "mainstay seen --help"),
        (["seen", "K", "--often", "x"], "often", "mainstay seen --help"),
        (["--nope"], "No such option: --nope", "mainstay --help"),
    ],
)
def test_a_wrong_command_line_is_told(
    arguments: list[str], sentence: str, mend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert sentence in err
    assert mend in err
    told: dict[str, Any] = json.loads(call(capsys, *arguments, "--json")[1])
    assert told["error"]["type"] == "Usage"


def test_help_names_every_command_and_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(call(capsys, "--help")[1].split())
    for name, entry in COMMANDS.items():
        assert name in out
        assert entry.help[:30] in out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version") == (0, f"mainstay {__version__}\n", "")


def test_the_schema_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "schema")
    assert code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(out))


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if entry.target.startswith("mainstay.")])
def test_a_command_of_the_table_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = load(name)
    for path in [[name, each] for each in getattr(command, "commands", {})] or [[name]]:
        code, out, _ = call(capsys, *path, "--help")
        assert code == 0
        assert "--json" in out
        assert "Example:" in out, path
    assert "--install-completion" not in call(capsys, name, "--help")[1]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_on_a_narrow_screen_is_whole_and_speaks_no_python(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parts = [*getattr(load(name), "commands", {})] if name else []
    for path in [[each] for each in parts] or [[]]:
        out = call(capsys, *filter(None, [name]), *path, "--help")[1]
        for word in ("<bool>", "list[", " range>", "…"):
            assert word not in out, path


def test_a_wrong_word_behind_a_command_of_a_group_leads_to_the_help_of_that_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "see `mainstay key create --help`" in call(capsys, "key", "create")[2]
    assert "see `mainstay key --help`" in call(capsys, "key", "creat", "x")[2]


def test_the_file_is_found_here_or_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    (tmp_path / "mainstay.yaml").write_text("integration: x")
    assert Session().find_file() == tmp_path / "mainstay.yaml"
    assert Session().find_home() == tmp_path / ".mainstay"
    assert Session(file=tmp_path).find_file() == tmp_path / "mainstay.yaml"
    assert Session(home=tmp_path / "h").find_home() == tmp_path / "h"
    with pytest.raises(NotFound, match="no such file"):
        Session(file=tmp_path / "other.yaml").find_file()


def test_a_file_that_is_nowhere_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(NotFound, match="or in any folder above"):
        Session().find_file()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_paragraphs_of_a_commands_help_are_broken_by_the_terminal_alone(name: str) -> None:
    command = load(name)
    for one in (command, *getattr(command, "commands", {}).values()):
        assert one.help
        assert "\n" not in one.help.replace("\n\n", "")


def test_whoever_interrupts_while_it_starts_is_shown_no_trace(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    command = [sys.executable, "-m", "mainstay", "--help"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (told.returncode, told.stderr, told.stdout) == (130, "interrupted\n", "")
