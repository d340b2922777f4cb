"""A backup is a home at one instant; restored elsewhere, it goes on as if it had been killed at that instant."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import urllib.request
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError

import pytest

from mainstay.app import erasures
from mainstay.app.answers import readers
from mainstay.app.answers import receipt as receipt_in
from mainstay.app.backup import backup, listed
from mainstay.app.commands import ask
from mainstay.app.place import Place
from mainstay.app.restore import look, restore
from mainstay.app.up import apply_at_start
from mainstay.app.wiring import own
from mainstay.cli.main import run as run_cli
from mainstay.core.clock import SystemClock
from mainstay.core.errors import Corrupt, LeaseOwned, MainstayError, NotFound, Refused, StoreFull
from mainstay.core.ids import keyed_hash
from mainstay.core.records import BatchRecord
from mainstay.pipelines import quarantine
from mainstay.serving.reply import Answer, Refusal
from mainstay.store import snapshot
from mainstay.store.home import Home
from mainstay.store.shelf import ShelfReader
from mainstay.store.snapshot import place
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.ports import free_port
from tests.app.shop import RULE, Shop, file_of
from tests.app.test_faults import fill
from tests.app.test_up import ready, up

CLOCK = SystemClock()


def saved(shop: Shop, name: str = "b.tar") -> Path:
    file = shop.folder / name
    backup(shop.home, file, clock=CLOCK)
    return file


def elsewhere(shop: Shop, file: Path) -> Shop:
    """The same installation in another folder, with the home of the backup."""
    other = Shop.__new__(Shop)
    other.folder = shop.folder.parent / f"{shop.folder.name}-elsewhere"
    other.folder.mkdir()
    other.home, other.file = other.folder / ".mainstay", other.folder / "mainstay.yaml"
    for path in shop.folder.iterdir():
        if path.is_file() and path != file:
            shutil.copy2(path, other.folder / path.name)
    if (shop.folder / "contracts").is_dir():
        shutil.copytree(shop.folder / "contracts", other.folder / "contracts")
    restore(file, other.home, clock=CLOCK, ledger=erasures.read(other.folder / erasures.FILE))
    return other


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "here").mkdir()
    shop = Shop(tmp_path / "here", rows=12)
    shop.begin(model=RULE)
    return shop


def rows(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.current("SELECT _k, tenure, _batch, _ord, _deleted FROM ds_customers.rows ORDER BY _k")


def told_of(one: Answer | Refusal) -> tuple[Any, ...]:
    """What an answer says, but for its own id and the clock."""
    if isinstance(one, Refusal):
        return (one.status, one.reason, one.as_of, one.verdict)
    return (one.output, one.model_version, one.as_of, one.verdict, one.degraded, one.reason)


def receipts_of(answers: list[Answer | Refusal]) -> list[str]:
    return [one.receipt for one in answers if one.receipt is not None]


def aside(shop: Shop) -> list[tuple[str, str]]:
    with own(shop.place, "a test") as works:
        found = quarantine.list_rows(works.desk, dataset="customers", state=None)
        return sorted((one.id, one.state) for one in found)


def once(shop: Shop) -> None:
    """Versions add up, and each batch is there once."""
    counts = dict(shop.dataset().counts)
    counts.pop("noop")
    assert counts.pop("landed") == sum(counts.values())
    state = SqliteState(shop.place.home.state)
    numbers = [one.number for one in ShelfReader(state, "batch", BatchRecord).all("customers/").values()]
    state.close()
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.promise(8)
@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
def test_a_restored_home_goes_on_where_the_backup_stood(shop: Shop, name: str) -> None:
    shop.exec("UPDATE customers SET tenure = 999 WHERE customer_id IN ('person-0002', 'person-0003')")
    shop.run()
    ask(shop.place, "flush", {})
    dirty = ask(shop.place, "quarantine.list", {})["rows"]
    ask(shop.place, "quarantine.discard", {"ids": [dirty[0]["id"]], "reason": "a test"})  # only current knows it yet
    answers = shop.predict("person-0001", "person-0002", "person-0003", "nobody")
    given, kinds = receipts_of(answers), [type(one) for one in answers]
    assert kinds.count(Refusal) == 2  # one is held, one unknown
    before, put_aside, counts = rows(shop), aside(shop), dict(shop.dataset().counts)
    file = saved(shop, name)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not (shop.home / snapshot.FOLDER).exists()
    assert [path.name for path in shop.folder.glob(".b*")] == []

    other = elsewhere(shop, file)
    with readers(other.place) as found:
        for receipt in given:
            assert receipt_in(found, receipt).id == receipt
    again = other.predict("person-0001", "person-0002", "person-0003", "nobody")  # before anything is read anew
    assert [told_of(one) for one in again] == [told_of(one) for one in answers]
    assert other.run()["results"][0]["status"] == "empty"
    assert rows(other) == before
    assert [state for _, state in put_aside] == ["quarantined", "discarded"]
    assert aside(other) == put_aside
    assert {name: n for name, n in other.dataset().counts.items() if name != "noop"} == {
        name: n for name, n in counts.items() if name != "noop"
    }
    assert [type(one) for one in other.predict("person-0001", "person-0002", "person-0003", "nobody")] == kinds
    other.exec("INSERT INTO customers VALUES ('new', 1, 'Bonn', 'gold')")
    other.run()
    assert other.outputs("new") == {"churn_probability": 0.01}
    once(other)


def test_ids_given_after_the_backup_never_come_to_name_other_receipts(shop: Shop) -> None:
    file = saved(shop)
    lost = receipts_of(shop.predict("person-0001", "person-0002"))
    other = elsewhere(shop, file)
    again = receipts_of(other.predict("person-0003", "person-0004"))
    with readers(other.place) as found:
        assert [receipt_in(found, one).key for one in again] == ["person-0003", "person-0004"]
        for receipt in lost:
            with pytest.raises(NotFound, match="past its retention"):
                receipt_in(found, receipt)


def test_what_is_read_under_the_file_of_another_folder_is_applied_again(shop: Shop) -> None:
    other = elsewhere(shop, saved(shop))
    apply_at_start(other.place, lambda _line: None)
    with own(other.place, "a test") as works:
        assert works.desk.integration.folder == str(other.folder)


@pytest.mark.promise(7)
@pytest.mark.parametrize("known_by", ["ledger", "home"])
def test_who_was_erased_after_the_backup_stays_erased(shop: Shop, known_by: str) -> None:
    for key in ("person-0003", "person-0005"):
        shop.predict(key)
    ask(shop.place, "erase", {"key": "person-0005", "reason": "asked before"})
    file = saved(shop)
    done = ask(shop.place, "erase", {"key": "person-0003", "reason": "asked since"})
    assert (done["ledger"], done["clean"]) == ("", True)
    assert len(erasures.read(shop.folder / erasures.FILE)) == 2
    assert "person" not in (shop.folder / erasures.FILE).read_text().replace('"person":', "")
    if known_by == "ledger":
        other = elsewhere(shop, file)
    else:
        (shop.folder / erasures.FILE).unlink()
        told = restore(file, shop.home, clock=CLOCK, force=True)
        assert told.erased_since == {"churn": 1}
        shutil.rmtree(told.aside)
        other = shop
    said: list[str] = []
    apply_at_start(other.place, said.append)
    assert said[0] == "erased again, as they had been after the restored backup was made: 1"
    for key in ("person-0003", "person-0005"):
        assert ask(other.place, "erase.verify", {"key": key})["clean"]
    left = [path for path in other.home.rglob("*") if path.is_file() and b"person-0003" in path.read_bytes()]
    assert left == []
    other.run()
    assert other.dataset().rows == 10
    with own(other.place, "a test") as works:
        assert works.state.scan("erase_again") == ()
        assert works.state.get("suppressed", keyed_hash(works.desk.secret, "person-0003")) is not None


def test_a_ledger_that_cannot_be_written_stops_no_erasure_and_is_said(shop: Shop) -> None:
    (shop.folder / erasures.FILE).mkdir()
    done = ask(shop.place, "erase", {"key": "person-0003", "reason": "asked"})
    assert done["clean"]
    assert "a restored backup may bring the person back" in done["ledger"]
    with pytest.raises(NotFound):
        erasures.named(shop.folder / "other.jsonl")
    (shop.folder / "bad.jsonl").write_text('{"integration": "churn", "person": "a", "at_us": 1}\n{\n')
    with pytest.raises(Corrupt, match="line 2"):
        erasures.read(shop.folder / "bad.jsonl")


# --- damage ------------------------------------------------------------------------------------------------------


@pytest.mark.promise(8)
def test_a_damaged_byte_is_named_and_nothing_is_restored(shop: Shop) -> None:
    file = saved(shop)
    data = file.read_bytes()
    part = next(iter((shop.home / "churn" / "landing").rglob("*.arrow")))
    at = data.index(part.read_bytes()) + 100
    home = shop.folder / "home"
    for place_of_byte in (at, *range(0, len(data), len(data) // 60)):
        changed = bytearray(data)
        changed[place_of_byte] ^= 0xFF
        file.write_bytes(changed)
        try:
            restore(file, home, clock=CLOCK)
        except (Corrupt, Refused) as error:
            assert "nothing was restored" in error.sentence  # noqa: PT017 - a byte of padding may be any
            if place_of_byte == at:
                assert part.name in error.sentence  # noqa: PT017 - the same
            assert [path for path in home.iterdir() if path.name != ".restore.lock"] == []
        else:
            shutil.rmtree(home)
            assert place_of_byte != at
            assert data[place_of_byte] == 0
    for kept in (0, 10, 5_000, len(data) // 2, len(data) - 30_000):
        file.write_bytes(data[:kept])
        with pytest.raises(Corrupt, match="nothing was restored"):
            restore(file, home, clock=CLOCK)


def test_damage_in_a_compressed_backup_is_found_and_its_place_named(shop: Shop) -> None:
    file = saved(shop, "b.tgz")
    data = file.read_bytes()
    for at in range(20, len(data), len(data) // 40):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        file.write_bytes(changed)
        with contextlib.suppress(zlib.error, EOFError, OSError):
            if gzip.decompress(changed) == gzip.decompress(data):
                continue  # a run of zeros can be told in several ways
        with pytest.raises((Corrupt, Refused), match=r"damaged|nothing was restored"):
            look(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "/etc/passwd"}, "leads elsewhere"),
        ({"name": "churn/../../x"}, "leads elsewhere"),
        ({"name": "./x"}, "leads elsewhere"),
        ({"name": "x", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "no regular file"),
        ({"name": "x", "type": tarfile.LNKTYPE, "linkname": "secret"}, "no regular file"),
        ({"name": "x", "type": tarfile.DIRTYPE}, "no regular file"),
        ({"name": "x", "type": tarfile.CHRTYPE}, "no regular file"),
    ],
)
def test_members_that_lead_elsewhere_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = tmp_path / "b.tar"
    with tarfile.open(file, "w") as tar:
        info = tarfile.TarInfo("a")
        for name, value in change.items():
            setattr(info, name, value)
        tar.addfile(info, io.BytesIO(b""))
    with pytest.raises(Refused, match=words):
        restore(file, tmp_path / "home", clock=CLOCK)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".restore.lock", "b.tar", "home"]


def test_a_file_with_holes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    info = tarfile.TarInfo("churn/x")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(1 << 26),
        "GNU.sparse.map": "0,0",
    }
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    with pytest.raises(Refused, match="no regular file"):
        look(file)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_what_is_read_into_memory_is_bounded_before_it_is(tmp_path: Path, kind: bytes) -> None:
    file = tmp_path / "b.tar"
    info = tarfile.TarInfo("manifest.json")
    info.type, info.size = kind, 1 << 30
    with file.open("wb") as out:
        out.write(info.tobuf(tarfile.GNU_FORMAT))
        out.truncate(2 << 30)  # zeros, which take no room
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt, match="damaged"):
            look(file)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_a_member_that_comes_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    with tarfile.open(file, "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a"), io.BytesIO(b""))
    with pytest.raises(Refused, match="twice"):
        restore(file, tmp_path / "home", clock=CLOCK)


# --- what stands in the way --------------------------------------------------------------------------------------


def test_a_home_with_state_is_refused_and_moved_aside_when_told(shop: Shop) -> None:
    file = saved(shop)
    shop.exec("UPDATE customers SET tenure = 77 WHERE customer_id = 'person-0001'")
    shop.run()
    with pytest.raises(Refused, match="stands there already"):
        restore(file, shop.home, clock=CLOCK)
    with own(shop.place, "pid 7"), pytest.raises(Refused, match=r"in use: .*pid 7"):
        restore(file, shop.home, clock=CLOCK, force=True)
    assert shop.outputs("person-0001") == {"churn_probability": 0.77}
    told = restore(file, shop.home, clock=CLOCK, force=True)
    assert shop.outputs("person-0001") == {"churn_probability": 0.1}
    assert Path(told.aside, "churn", "state.sqlite").is_file()
    shop.run()
    assert shop.outputs("person-0001") == {"churn_probability": 0.77}
    once(shop)


class Killed(BaseException):
    """As kill -9 would: nobody catches it."""


@pytest.mark.promise(8)
@pytest.mark.parametrize("nth", range(1, 6))
def test_a_restore_that_is_cut_off_leaves_a_home_that_refuses_or_is_whole(
    shop: Shop, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(shop)
    real, calls = Path.rename, iter(range(1, 100))

    def rename(self: Path, target: Path) -> Path:
        if next(calls) == nth:
            raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(Killed):
        restore(file, shop.home, clock=CLOCK, force=True)
    monkeypatch.undo()
    if nth == 1:
        assert shop.outputs("person-0001") == {"churn_probability": 0.1}
    else:
        with pytest.raises(MainstayError):
            shop.predict("person-0001")
        with pytest.raises(Corrupt, match="secret is gone"):  # nobody begins a new home in between
            Home(shop.home, "churn").create()
    restore(file, shop.home, clock=CLOCK, force=True)
    assert shop.outputs("person-0001") == {"churn_probability": 0.1}


@pytest.mark.promise(7)
def test_who_was_erased_stays_erased_when_a_restore_was_cut_off_and_no_ledger_is_there(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(shop)
    ask(shop.place, "erase", {"key": "person-0003", "reason": "asked since"})
    real, calls = Path.rename, iter(range(1, 100))

    def rename(self: Path, target: Path) -> Path:
        if next(calls) == 2:  # the secret is aside, the state is not
            raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(Killed):
        restore(file, shop.home, clock=CLOCK, force=True)
    monkeypatch.undo()
    assert restore(file, shop.home, clock=CLOCK, force=True).erased_since == {"churn": 1}


@pytest.mark.promise(8)
def test_a_restore_killed_with_9_while_it_unpacks_leaves_nothing_that_counts(shop: Shop) -> None:
    part = shop.home / "churn" / "artifacts" / "large"
    part.write_bytes(os.urandom(60_000_000))
    file = saved(shop)
    (home := shop.folder / "home").mkdir()

    def unpacked() -> int:
        return sum(one.stat().st_size for one in home.rglob("large"))

    for _ in range(3):
        process = command(shop, "restore", file.name, "--home", str(home))
        waited(lambda: unpacked() > 0)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        left = [path.name for path in home.iterdir()]
        assert len([name for name in left if name.startswith(snapshot.UNPACKED)]) == 1
        assert [name for name in left if not name.startswith(".restore")] == []
    restore(file, home, clock=CLOCK)
    assert sorted(path.name for path in home.iterdir()) == [".restore.lock", "churn", "installation.json", "secret"]
    killed = shop.home / f"{snapshot.UNPACKED}killed"
    killed.mkdir()
    ask(shop.place, "erase", {"key": "person-0003", "reason": "asked"})
    assert not killed.exists()


def test_a_full_disk_is_said_and_leaves_no_file(shop: Shop, small_disk: Path) -> None:
    (shop.home / "churn" / "artifacts" / "large").write_bytes(os.urandom(2_000_000))
    file = saved(shop)
    ballast = fill(small_disk, 1_000_000)
    with pytest.raises(StoreFull, match="no space"):
        backup(shop.home, small_disk / "b.tar", clock=CLOCK)
    with pytest.raises(StoreFull, match="no space"):
        restore(file, small_disk / "home", clock=CLOCK)
    assert sorted(path.name for path in small_disk.rglob("*")) == [".restore.lock", "ballast", "home"]
    ballast.unlink()
    backup(shop.home, small_disk / "b.tar", clock=CLOCK)
    restore(file, small_disk / "home", clock=CLOCK)


def test_a_disk_without_second_names_gets_its_backup_all_the_same(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def no_links_here(source: Any, target: Any, **more: Any) -> None:
        if Path(target).parent == shop.folder:
            raise PermissionError(1, "Operation not permitted")
        real(source, target, **more)

    monkeypatch.setattr(os, "link", no_links_here)
    assert look(saved(shop)).integrations.keys() == {"churn"}
    assert sorted(path.name for path in shop.folder.glob("*b.tar*")) == ["b.tar"]


def test_what_is_no_backup_of_ours_is_said(shop: Shop) -> None:
    with tarfile.open(shop.folder / "foreign.tgz", "w:gz") as tar:
        tar.add(shop.file, "mainstay.yaml")
    (shop.folder / "text.tar.gz").write_text("no backup at all")
    (shop.folder / "empty.tar").write_bytes(b"")
    for name in ("foreign.tgz", "text.tar.gz", "empty.tar"):
        with pytest.raises(Corrupt, match="nothing was restored"):
            restore(shop.folder / name, shop.folder / "home", clock=CLOCK)
    manifest = json.dumps({"v": "one"}).encode()
    with tarfile.open(shop.folder / "odd.tar", "w") as tar:
        for name, data in (("manifest.json", manifest), ("manifest.sha256", sha256(manifest).hexdigest().encode())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(Corrupt, match=r"manifest\.json cannot be read"):
        look(shop.folder / "odd.tar")


def test_the_commands_say_what_they_did_and_what_they_need(shop: Shop) -> None:
    def told(*arguments: str, code: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "mainstay", *arguments, "--json"], cwd=shop.folder, capture_output=True, check=False
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    assert told("backup", "b.tgz", "--dry-run")["bytes"] > 0
    assert not (shop.folder / "b.tgz").exists()
    made = told("backup", "b.tgz")
    assert (made["integrations"].keys(), made["notes"]) == ({"churn"}, [])
    assert "another name" in str(told("backup", "b.tgz", code=3))
    assert len(told("restore", "b.tgz", "--dry-run")["files"]) == made["files"]
    ask(shop.place, "erase", {"key": "person-0003", "reason": "asked since"})
    assert "--force" in str(told("restore", "b.tgz", code=3))
    done = told("restore", "b.tgz", "--force")
    assert (done["erased_since"], done["not_erased_yet"], done["ledger"]) == ({"churn": 1}, {}, True)
    assert ask(shop.place, "erase.verify", {"key": "person-0003"})["clean"]
    (shop.folder / "b.tgz").write_bytes((shop.folder / "b.tgz").read_bytes()[:5_000])
    assert "nothing was restored" in str(told("restore", "b.tgz", "--home", "other", code=1))
    assert "no such file" in str(told("restore", "none.tgz", "--home", "other", code=4))


def test_an_installation_of_several_is_one_backup_and_each_keeps_its_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installation.yaml").write_text("sources:\n  spare: {kind: sqlite, path: spare.db}\n")
    shops = {}
    for name in ("churn", "upsell"):
        folder = tmp_path / "integrations" / name
        folder.mkdir(parents=True)
        shop = shops[name] = Shop(folder, rows=4)
        shop.file.write_text(file_of(model=RULE).replace("integration: churn", f"integration: {name}"))
        shop.home = tmp_path / ".mainstay"
        place = Place(Home(shop.home, name), shop.file)
        ask(place, "apply", {})
        ask(place, "run", {})
    monkeypatch.chdir(tmp_path)
    assert run_cli(["backup", "b.tgz"]) == 0
    upsell = Place(Home(tmp_path / ".mainstay", "upsell"), shops["upsell"].file)
    ask(upsell, "erase", {"key": "person-0003", "reason": "asked since"})
    shutil.rmtree(tmp_path / ".mainstay")
    assert run_cli(["upgrade"]) == 4
    assert run_cli(["restore", "b.tgz"]) == 0
    assert run_cli(["upgrade"]) == 0
    assert ask(upsell, "erase.verify", {"key": "person-0003"})["clean"]
    churn = Place(Home(tmp_path / ".mainstay", "churn"), shops["churn"].file)
    assert not ask(churn, "erase.verify", {"key": "person-0003"})["clean"]


def test_what_cannot_be_backed_up_is_said_before_anything_is_done(shop: Shop, tmp_path: Path) -> None:
    for name, kind in (("b.zip", Refused), ("no/b.tar", NotFound), ("mainstay.yaml", Refused)):
        with pytest.raises(kind):
            backup(shop.home, shop.folder / name, clock=CLOCK)
    with pytest.raises(NotFound, match="no integration has state here"):
        backup(tmp_path / "nowhere", shop.folder / "b.tar", clock=CLOCK)
    with own(shop.place, "busy"), pytest.raises(LeaseOwned):
        backup(shop.home, shop.folder / "b.tar", clock=CLOCK, timeout_us=200_000)
    assert not (shop.folder / "b.tar").exists()
    shop.run()
    with own(shop.place, "a test") as works:  # what was asked in vain is not done for nobody
        from mainstay.app.commands import perform_requests

        assert perform_requests(works) == 1
    assert not (shop.home / snapshot.FOLDER).exists()
    names = {path.split("/")[1] for path in listed(shop.home) if path.startswith("churn/")}
    assert names >= {"state.sqlite", "online.sqlite", "landing", "journal", "artifacts"}
    assert not names & {"current.duckdb", "lease", "up", "meters", "logs", "sockets"}


def test_what_a_killed_backup_left_goes_with_the_next_one_and_with_an_erasure(shop: Shop) -> None:
    code = (
        "import sys, os, pathlib; from mainstay.store import snapshot; from mainstay.store.home import Home; "
        "root = pathlib.Path(sys.argv[1]); c = snapshot.place(root, 'killed'); c.__enter__(); "
        "snapshot.take(Home(root, 'churn'), 'killed'); os.kill(os.getpid(), 9)"
    )
    for clears in (lambda: saved(shop), lambda: ask(shop.place, "erase", {"key": "person-0003", "reason": "asked"})):
        subprocess.run([sys.executable, "-c", code, str(shop.home)], check=False)
        assert (shop.home / snapshot.FOLDER / "killed" / "churn" / "state.sqlite").is_file()
        clears()
        assert not (shop.home / snapshot.FOLDER).exists()
    with place(shop.home, "alive"):
        assert snapshot.clear(shop.home) == 0


# --- at work -----------------------------------------------------------------------------------------------------


class Load:
    """Changes in the source and questions to the API, all the time."""

    def __init__(self, shop: Shop, port: int, key: str) -> None:
        self.receipts: list[str] = []
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._change, args=(shop,)),
            threading.Thread(target=self._ask, args=(port, key)),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _change(self, shop: Shop) -> None:
        number = 0
        while not self._stop.wait(0.05):
            number += 1
            changed = f"UPDATE customers SET tenure = {number % 100} WHERE customer_id = 'person-{1 + number % 12:04}'"
            with contextlib.suppress(sqlite3.OperationalError):  # SQLite may starve a writer on a busy machine
                shop.exec(changed)

    def _ask(self, port: int, key: str) -> None:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        number = 0
        while not self._stop.wait(0.01):
            number += 1
            body = json.dumps({"key": f"person-{1 + number % 12:04}"}).encode()
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/churn/predict", body, headers)
            try:
                with urllib.request.urlopen(asked, timeout=10) as reply:
                    self.receipts.append(json.load(reply)["receipt"])
            except (URLError, OSError) as error:
                self.wrong.append(str(error))


def command(shop: Shop, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "mainstay", *arguments], cwd=shop.folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def waited(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.promise(8)
@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_backups_under_load_hold_every_receipt_given_before_and_answers_go_on(shop: Shop) -> None:
    shop.file.write_text(shop.file.read_text().replace("every: 10s", "every: 100ms"))
    shop.apply()
    made = subprocess.run(
        [sys.executable, "-m", "mainstay", "key", "create", "crm", "--json"], cwd=shop.folder, capture_output=True,
        check=True,
    )  # fmt: skip
    port = free_port()
    with up(shop, port) as process:
        assert ready(shop, port, process, 1)
        with Load(shop, port, json.loads(made.stdout)["key"]) as load:
            waited(lambda: len(load.receipts) > 50)
            killed = command(shop, "backup", "killed.tar")
            waited(lambda: (shop.home / snapshot.FOLDER).exists() or killed.poll() is not None)
            killed.send_signal(signal.SIGKILL)
            killed.wait(60)
            assert not (shop.folder / "killed.tar").exists()
            given = []
            for number in range(3):
                given.append(list(load.receipts))
                assert command(shop, "backup", f"b{number}.tar.gz").wait(120) == 0
            count = len(load.receipts)
            waited(lambda: len(load.receipts) > count + 20)
        assert load.wrong == []
    assert not (shop.home / snapshot.FOLDER).exists()
    files = [shop.folder / f"b{number}.tar.gz" for number in range(3)]
    shop.run()
    for file, receipts in zip(files, given, strict=True):
        assert receipts
        other = elsewhere(shop, file)
        with readers(other.place) as found:
            for receipt in receipts:
                assert receipt_in(found, receipt).id == receipt
        other.run()
        keys = [f"person-{n:04}" for n in range(1, 13)]
        assert [one.output for one in other.predict(*keys) if isinstance(one, Answer)] == [
            one.output for one in shop.predict(*keys) if isinstance(one, Answer)
        ]
        assert [row[:2] for row in rows(other)] == [row[:2] for row in rows(shop)]
        once(other)
        shutil.rmtree(other.folder)


def test_a_folder_without_links_is_copied(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    with place(shop.home, "copied") as folder:
        monkeypatch.setattr(os, "link", no_links)
        snapshot.take(Home(shop.home, "churn"), "copied")
        monkeypatch.undo()
        part = next(folder.rglob("*.arrow"))
        assert part.stat().st_nlink == 1
