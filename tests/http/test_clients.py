"""The client matrix: each family's own clients, unchanged, in one table of green."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import environment
from tests.http.serving import serving
from tests.serving.toy import Toy

SCRIPTS = ("triton_http.py", "triton_grpc.py", "kserve_both.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, str]]]:
    toy = Toy(tmp_path_factory.mktemp("clients"))
    with serving(toy, grpc="127.0.0.1:0") as served:
        toy.policy(on_missing="refuse", on_error="refuse")
        settings = {"http": served.port, "grpc": served.grpc_port, "token": toy.key("predict")}
        yield {script: environment.run(script, **settings) for script in SCRIPTS}
    toy.journal.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("script", "name"), [(script, name) for script in SCRIPTS for name in environment.names(script)]
)
def test_a_client_works_unchanged(found: dict[str, dict[str, str]], script: str, name: str) -> None:
    assert not found[script][name], found[script][name]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_check_of_a_script_ran(found: dict[str, dict[str, str]], script: str) -> None:
    assert sorted(found[script]) == sorted(environment.names(script))
    assert len(found[script]) > 5


def test_a_failing_check_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checks.py").write_text((environment.SCRIPTS / "checks.py").read_text())
    (tmp_path / "bad.py").write_text(
        "from checks import run_all\n\n\ndef check_it() -> None:\n    assert 1 == 2\n\n\nrun_all(dict(globals()))\n"
    )
    monkeypatch.setattr(environment, "SCRIPTS", tmp_path)
    assert "AssertionError" in environment.run("bad.py")["check_it"]
