from __future__ import annotations

import stat
from pathlib import Path
from threading import Thread

import pytest

from mainstay.core.errors import Corrupt, Refused, StoreOld, StoreTooNew
from mainstay.store.home import Home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_making_one_touches_no_disk(tmp_path: Path) -> None:
    Home(tmp_path / "home", "churn")
    assert not (tmp_path / "home").exists()


def test_create_makes_the_layout_for_its_user_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", "churn")
    home.create()
    assert home.folder == tmp_path / "home/churn"
    folders = [home.landing, home.history, home.journal, home.artifacts, home.sockets, home.plans, home.logs]
    for folder in [home.root, home.folder, *folders]:
        assert folder.is_dir()
        assert mode(folder) == 0o700
    assert (mode(home.root / "secret"), mode(home.root / "installation.json")) == (0o600, 0o600)
    paths = [home.state, home.online, home.current, home.lease, *folders]
    assert len(set(paths)) == len(paths)
    assert {path.parent for path in paths} == {home.folder}


def test_create_again_changes_nothing_but_narrows_the_folder(tmp_path: Path) -> None:
    home = Home(tmp_path, "churn")
    home.create()
    secret = home.secret()
    (home.plans / "kept").touch()
    home.folder.chmod(0o755)
    home.create()
    assert mode(home.folder) == 0o700
    assert (home.plans / "kept").exists()
    assert home.secret() == secret


def test_integrations_share_one_secret(tmp_path: Path) -> None:
    homes = [Home(tmp_path, name) for name in ("churn", "fraud")]
    for home in homes:
        home.create()
    assert homes[0].secret() == homes[1].secret()
    assert len(homes[0].secret()) == 32


def test_two_that_ask_first_get_the_same_secret(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [Thread(target=lambda: found.append(Home(tmp_path / "home", "churn").secret())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["secret"]


def test_a_lost_secret_is_not_made_anew(tmp_path: Path) -> None:
    home = Home(tmp_path, "churn")
    home.create()
    (tmp_path / "secret").unlink()
    with pytest.raises(Corrupt, match="secret is gone"):
        home.secret()
    with pytest.raises(Corrupt, match="secret is gone"):
        home.create()


def test_a_damaged_secret_is_told_without_showing_it(tmp_path: Path) -> None:
    home = Home(tmp_path, "churn")
    home.create()
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "secret").write_bytes(b"half of it")
    with pytest.raises(Corrupt, match="has 10 bytes, not 32") as caught:
        home.secret()
    assert "half of it" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../churn", "a/b", "/etc", ".hidden", "a\0b", "a\nb", "-rf", "a..b", "x" * 101, "ü"]
)
def test_a_name_that_could_lead_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot name a folder"):
        Home(tmp_path, name)


@pytest.mark.promise(8)
@pytest.mark.parametrize(("number", "error"), [(2, StoreTooNew), (0, StoreOld)])
def test_another_versions_layout_is_refused(number: int, error: type[Exception], tmp_path: Path) -> None:
    home = Home(tmp_path, "churn")
    home.create()
    (tmp_path / "installation.json").write_text(f'{{"schema":{number}}}')
    with pytest.raises(error, match=f"schema {number}, .* schema 1"):
        home.create()


def test_an_unreadable_number_is_corrupt(tmp_path: Path) -> None:
    home = Home(tmp_path, "churn")
    home.create()
    (tmp_path / "installation.json").write_text("{")
    with pytest.raises(Corrupt, match="schema number cannot be read"):
        home.create()
