"""The disk is watched role by role, and its filling up is said before a write fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mainstay import spec
from mainstay.app import disk
from mainstay.app.loop import Loop
from mainstay.app.place import read_file
from mainstay.app.status import read_status
from mainstay.app.wiring import own
from mainstay.app.worker import open_worker
from mainstay.cli.main import run
from mainstay.core.clock import HOUR, SystemClock
from mainstay.core.errors import FileError
from mainstay.core.nouns import FreeDisk
from mainstay.core.records import DiskSample
from mainstay.core.verdicts import Verdict
from mainstay.http.metrics import exposition
from tests.app.shop import RULE, Shop
from tests.app.test_commands import Late
from tests.app.test_faults import fill

GB = 10**9
ROLES = {"landing", "history", "journal", "artifacts", "state", "online", "current"}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.begin(model=RULE)
    shop.predict("person-0001")
    return shop


def held(free: int, **roles: int) -> tuple[DiskSample, ...]:
    return (DiskSample(at_us=0, used=sum(roles.values()), free=free, total=100 * GB, roles=roles),)


def test_every_role_is_counted_and_together_they_are_the_home(shop: Shop) -> None:
    with own(shop.place, "a test") as works:
        from mainstay.app.commands import flush

        flush(works)
    found = disk.sample(shop.place.home, 7)
    assert found.roles.keys() == ROLES | {disk.OTHER}
    assert [role for role in ROLES - {"artifacts"} if not found.roles[role]] == []
    everything = sum(path.stat().st_size for path in shop.place.home.folder.rglob("*") if path.is_file())
    assert (found.used, sum(found.roles.values()), found.at_us) == (everything, everything, 7)
    assert read_status(shop.place, SystemClock()).disk_roles.keys() == found.roles.keys()


@pytest.mark.parametrize(
    ("free", "limit", "words"),
    [
        (6 * GB, FreeDisk(), ""),
        (4 * GB, FreeDisk(), "4.0 GB free, 5.0 GB is the least (settings.free_disk)"),
        (6 * GB, FreeDisk(share=0.1), "6.0 GB free, 10.0 GB is the least"),
        (6 * GB, FreeDisk(share=None, size=20 * GB), "20.0 GB is the least"),
        (4 * GB, FreeDisk(share=None, size=1 * GB), ""),
        (4 * GB, FreeDisk(share=0), ""),
    ],
)
def test_less_than_the_least_is_a_warning(free: int, limit: FreeDisk, words: str) -> None:
    found = disk.findings(held(free), limit)
    assert [one.verdict for one in found] == ([Verdict.WARN] if words else [])
    assert not words or words in found[0].sentence


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ({"history": 50 * GB, "online": GB}, "history takes most, 50,000 MB: lower `retention: {history: ...}`"),
        ({"online": 50 * GB}, "online takes most, 50,000 MB: give the home a larger disk"),
        ({"online": 1_000}, "little of it is taken by this home"),
        ({}, "free space on this disk"),
    ],
)
def test_the_mend_names_what_takes_most(roles: dict[str, int], words: str) -> None:
    (found,) = disk.findings(held(GB, **roles), FreeDisk())
    assert words in found.mend


@pytest.mark.parametrize(
    ("text", "share", "size"),
    [("5%", 0.05, 0), ("12.5%", 0.125, 0), ("0%", 0.0, 0), ("20GB", None, 20 * GB), ("1.5 TB", None, 1_500 * GB)],
)
def test_the_file_says_how_much_must_stay_free(shop: Shop, text: str, share: float | None, size: int) -> None:
    shop.write(more=f"settings: {{free_disk: {text}}}\n")
    assert read_file(shop.file).settings.free_disk == FreeDisk(share=share, size=size)


@pytest.mark.parametrize("text", ["5", "100%", "-1%", "20 G", "much", "[]"])
def test_what_is_no_amount_is_a_fault_that_says_what_to_type(shop: Shop, text: str) -> None:
    shop.write(more=f"settings: {{free_disk: {text}}}\n")
    with pytest.raises(FileError, match=r"a share such as 5%, or an amount such as 20GB"):
        read_file(shop.file)
    assert "free_disk" in str(spec.schema())


def test_a_disk_that_fills_up_is_said_while_writes_still_work(small_disk: Path, capsys: Any) -> None:
    shop = Shop(small_disk)
    shop.begin(model=RULE, more="settings: {free_disk: 8MB}\n")
    assert [one.check for one in read_status(shop.place, SystemClock()).wrong if one.check == "disk"] == []
    ballast = fill(small_disk, 6_000_000)
    assert run(["status", "--file", str(shop.file)]) in (0, 1)
    said = " ".join(capsys.readouterr().out.split())
    assert "the disk fills up: 0.0 GB free" in said
    assert "landing" in said
    shop.exec("UPDATE customers SET tenure = 55 WHERE customer_id = 'person-0003'")
    shop.run()
    assert shop.outputs("person-0003") == {"churn_probability": 0.55}
    ballast.unlink()


def test_the_loop_notes_the_disk_warns_once_and_metrics_tell_it(shop: Shop) -> None:
    shop.apply(model=RULE, more="settings: {free_disk: 99.9%}\n")
    clock = Late()
    with own(shop.place, "a test", clock=clock) as works, capture_logs() as logged:
        loop = Loop(works)
        loop.start()
        for _ in range(2):
            clock.ahead_us += HOUR
            while loop.beat():
                pass
        assert len(works.state.scan("disk")) == 2
    warned = [one for one in logged if "the disk fills up" in one["event"]]
    assert [(one["log_level"], bool(one["mend"])) for one in warned] == [("warning", True)]
    worker = open_worker(shop.home, "churn", slot="api-1", clock=SystemClock(), env={})
    try:
        text = exposition(worker.desk).decode()
    finally:
        worker.close()
    told = {
        line.split(" ")[0]: float(line.split(" ")[1]) for line in text.splitlines() if line.startswith("mainstay_disk")
    }
    assert {f'mainstay_disk_used_bytes{{role="{role}"}}' for role in ROLES} <= told.keys()
    assert told["mainstay_disk_free_bytes"] < told["mainstay_disk_free_limit_bytes"]
