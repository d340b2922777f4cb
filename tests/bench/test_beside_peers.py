from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.laws.reading import ROOT

BENCH = ROOT / "bench"
PAGE = ROOT / "docs" / "benchmarks.md"


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("beside")
    monkeypatch.setattr(module, "HOME", tmp_path)
    return module


def test_our_own_part_runs_and_is_equal_to_the_truth() -> None:
    command = [sys.executable, str(BENCH / "bench_checks.py"), "--small", "--alone"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "20 checks on 20,000 rows, 1 % bad: all name the same failing rows" in done.stdout


def test_findings_that_differ_from_the_truth_end_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    compare = importlib.import_module("bench_checks").compare
    compare("a peer", {"n0.min": ["7", 107]}, {"n0.min": [7, 107]})
    with pytest.raises(SystemExit, match=r"a peer: n0.min names 1 rows, 1 of them otherwise"):
        compare("a peer", {"n0.min": [7]}, {"n0.min": [7, 107]})
    with pytest.raises(SystemExit, match=r"n0.min names 0 rows"):
        compare("a peer", {}, {"n0.min": [7, 107]})


def test_a_peer_that_cannot_be_installed_is_said_to_be_so(beside: ModuleType, tmp_path: Path) -> None:
    absent = tmp_path / "absent-1.0-py3-none-any.whl"
    with pytest.raises(beside.NotHere, match=r"^nobody could not be installed: .*"):
        beside.environment("nobody", (f"absent @ {absent.as_uri()}",))


def test_an_environment_that_is_there_is_used_again(beside: ModuleType, tmp_path: Path) -> None:
    absent = f"absent @ {(tmp_path / 'absent-1.0-py3-none-any.whl').as_uri()}"
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / ".packages").write_text(absent)
    assert beside.environment("nobody", (absent,)) == tmp_path / "nobody" / "bin" / "python"
    with pytest.raises(beside.NotHere):
        beside.environment("nobody", (absent, "another==1"))


def test_every_peer_is_pinned(beside: ModuleType) -> None:
    loose = [one for packages in beside.PEERS.values() for one in packages if "==" not in one]
    assert not loose, f"bench/beside.py does not pin {loose}"
    pinned = {one for packages in beside.PEERS.values() for one in packages}
    bare = {peer.packages[0] for peer in importlib.import_module("bench_weight").PEERS.values()}
    versions = {re.sub(r"\[.*\]", "", one) for one in pinned}
    other = {one for one in bare if re.sub(r"\[.*\]", "", one) not in versions}
    assert not other, f"bench/bench_weight.py weighs other versions than bench/beside.py pins: {sorted(other)}"


def test_the_page_names_every_benchmark_and_no_other() -> None:
    there = {path.stem.removeprefix("bench_") for path in BENCH.glob("bench_*.py")}
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert named == there
