"""What a killed `mainstay new` leaves beside, and who may remove it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.app.new.place import MARK, beside, remove_left, settle

_HOLDS = """
import sys, time
from pathlib import Path
from mainstay.app.new.place import beside
with beside(Path(sys.argv[1])) as place:
    (place / "secrets").mkdir()
    (place / "secrets" / "crm_url").write_text("postgresql://me:hush@db/crm")
    print(place, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def said() -> list[str]:
    return []


def _held(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process that is at it, and its place."""
    process = subprocess.Popen([sys.executable, "-c", _HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_goes_and_what_a_living_one_holds_stays(tmp_path: Path, said: list[str]) -> None:
    process, place = _held(tmp_path / "churn")
    with process:
        remove_left(tmp_path, said.append)
        stayed = (place / "secrets" / "crm_url").is_file()
        process.kill()
    assert stayed, "its process lived"
    assert said == []
    assert place.is_dir(), "kill -9 leaves it"
    remove_left(tmp_path, said.append)
    assert not place.exists()
    assert said == [f"removed {place.name}: a `mainstay new` that was killed had left it"]


def test_what_is_not_marked_is_nobodys_to_remove(tmp_path: Path, said: list[str]) -> None:
    for name in (".churn-backup00", ".churn-", "churn-abcdefgh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mainstay.yaml").touch()
    (tmp_path / "churn-abcdefgh" / MARK).touch()  # not hidden: a folder that stands
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARK).touch()
    (tmp_path / ".churn-link0000").symlink_to(elsewhere)
    before = sorted(tmp_path.rglob("*"))
    remove_left(tmp_path, said.append)
    assert sorted(tmp_path.rglob("*")) == before
    assert said == []


def test_a_place_becomes_the_folder_without_its_mark(tmp_path: Path) -> None:
    folder = tmp_path / "churn"
    folder.mkdir()
    with beside(folder) as place:
        (place / "mainstay.yaml").touch()
        assert (place / MARK).is_file()
        settle(place, folder)
    assert [path.name for path in folder.iterdir()] == ["mainstay.yaml"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_place_that_did_not_become_the_folder_goes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="asked for nothing"), beside(tmp_path / "churn"):
        raise ValueError("asked for nothing")
    assert list(tmp_path.iterdir()) == []
