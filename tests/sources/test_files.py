"""Which files are taken, when, and once: what lies in the folder, the ledger, and what a person is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.core.errors import SourceAway, SourceRefused
from mainstay.core.nouns import SourceConfig
from mainstay.core.ports import ReadRequest
from mainstay.sources import open_source
from mainstay.sources.files_found import matches, split_path
from mainstay.sources.files_ledger import GONE, Ledger, Taken, after, is_new, origin, read_ledger
from tests.sources.drops import Drops


@pytest.fixture
def drops(tmp_path: Path) -> Drops:
    return Drops(tmp_path / "drops")


@pytest.fixture
def increments(tmp_path: Path) -> Drops:
    return Drops(tmp_path / "drops", mode="increment")


# --- each file once --------------------------------------------------------------------------------------------------


def test_each_file_is_taken_once_in_the_order_of_their_change(increments: Drops) -> None:
    increments.drop("b.csv", "id,n\n1,first\n")
    increments.drop("a.csv", "id,n\n1,second\n")
    assert increments.read() == [("1", "first"), ("1", "second")]
    assert not increments.complete
    assert increments.read("id", "n") == []
    increments.drop("c.csv", "id,n\n2,third\n")
    assert increments.read() == [("2", "third")]


def test_equal_bytes_under_another_name_are_a_no_op(increments: Drops) -> None:
    increments.drop("a.csv", "id,n\n1,a\n")
    increments.read()
    increments.drop("copy.csv", "id,n\n1,a\n")
    assert increments.read() == []
    (increments.folder / "a.csv").unlink()
    (increments.folder / "copy.csv").rename(increments.folder / "other.csv")
    increments.drop("b.csv", "id,n\n2,b\n")
    assert increments.read() == [("2", "b")]
    increments.drop("again.csv", "id,n\n1,a\n")  # taken away, and sent again later
    assert increments.read() == []


def test_equal_bytes_twice_in_one_read_are_taken_once(increments: Drops) -> None:
    for name in ("a.csv", "b.csv"):
        increments.drop(name, "id\n1\n")
    assert increments.read() == [("1",)]


def test_a_changed_file_of_the_same_name_is_a_new_drop(increments: Drops) -> None:
    increments.drop("a.csv", "id,n\n1,a\n")
    increments.read()
    increments.drop("a.csv", "id,n\n1,b\n")
    assert increments.read() == [("1", "b")]


def test_files_may_be_read_in_the_order_of_their_names(increments: Drops) -> None:
    increments.drop("2.csv", "id\n2\n")
    increments.drop("1.csv", "id\n1\n")
    assert increments.read(order="name") == [("1",), ("2",)]


def test_a_snapshot_is_the_newest_file_and_is_not_read_again(drops: Drops) -> None:
    drops.drop("1.csv", "id\n1\n2\n")
    assert (drops.read(whole="newest"), drops.complete) == ([("1",), ("2",)], True)
    assert (drops.read(whole="newest"), drops.complete) == ([], False)
    drops.drop("2.csv", "id\n2\n")
    assert (drops.read(whole="newest"), drops.complete) == ([("2",)], True)
    drops.drop("3.csv", "id\n2\n")  # the same table under another name
    assert (drops.read(whole="newest"), drops.complete) == ([], False)
    drops.drop("4.csv", "id\n1\n2\n")  # back to what it was
    assert (drops.read(whole="newest"), drops.complete) == ([("1",), ("2",)], True)


def test_a_snapshot_of_several_files_is_all_of_them_at_rest(drops: Drops) -> None:
    drops.options["whole"] = "together"
    drops.drop("1.csv", "id\n1\n")
    drops.drop("2.csv", "id\n2\n")
    assert (drops.read(), drops.complete) == ([("1",), ("2",)], True)
    assert (drops.read(), drops.complete) == ([], False)
    now_us = drops.clock.now_us()
    (drops.folder / "1.csv").write_text("id\n3\n")
    os.utime(drops.folder / "1.csv", ns=(now_us * 1_000, now_us * 1_000))
    with pytest.raises(SourceAway, match="1 of the files that are the table together is not at rest"):
        drops.read()
    drops.clock.set_wall(now_us + 6_000_000)
    assert (drops.read(), drops.complete) == ([("2",), ("3",)], True)
    (drops.folder / "2.csv").unlink()
    assert (drops.read(), drops.complete) == ([("3",)], True)


def test_which_files_are_the_table_is_not_guessed(drops: Drops) -> None:
    drops.drop("1.csv", "id\n1\n")
    assert drops.read() == [("1",)]
    drops.drop("2.csv", "id\n2\n")
    with pytest.raises(SourceRefused) as raised:
        drops.read()
    assert "`whole: newest`" in raised.value.mend
    assert "`whole: together`" in raised.value.mend


Step = tuple[str, int, int]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["drop", "remove", "read"]), st.integers(0, 4), st.integers(0, 6)), max_size=20
    )
)
def test_whatever_happens_each_content_comes_exactly_once(tmp_path_factory: Any, steps: list[Step]) -> None:
    drops = Drops(tmp_path_factory.mktemp("drops"), mode="increment")
    drops.drop("first.csv", "id\nfirst\n")
    sent = {"first"}
    came: list[tuple[str]] = []
    for what, name, content in [*steps, ("read", 0, 0)]:
        path = drops.folder / f"{name}.csv"
        if what == "drop":
            read = {row for (row,) in came}
            if path.exists():  # what is overwritten before it was read was never there
                before = path.read_text().split()[1]
                others = [one.read_text() for one in drops.folder.iterdir() if one != path]
                if before not in read and f"id\n{before}\n" not in others:
                    sent.discard(before)
            drops.drop(path.name, f"id\nvalue {content}\n".replace(" ", ""))
            sent.add(f"value{content}")
        elif what == "remove" and path.exists():
            before = path.read_text().split()[1]
            others = [one.read_text() for one in drops.folder.iterdir() if one != path]
            if before not in {row for (row,) in came} and f"id\n{before}\n" not in others:
                sent.discard(before)
            path.unlink()
        elif what == "read":
            came += drops.read()
    assert sorted(row for (row,) in came) == sorted(sent)


# --- the ledger ------------------------------------------------------------------------------------------------------


def digest_of(number: int) -> str:
    return f"{number:064x}"[::-1]


def test_the_ledger_forgets_what_is_long_gone_and_never_what_lies_there() -> None:
    ledger = Ledger()
    lying: list[str] = []
    for number in range(GONE + 50):
        new = Taken(file=f"{number}.csv", sha256=digest_of(number), rows=1)
        lying = [digest_of(0), digest_of(number)]
        ledger = after(ledger, [new], lying)
    assert len(ledger.digests()) == GONE + 2
    assert is_new(ledger, [digest_of(0), digest_of(number), digest_of(1)]) == [2]
    assert len(ledger.text()) < 24 * (GONE + 2) + 300
    assert read_ledger(ledger.text()) == ledger


def test_an_ordinal_leads_back_to_a_file_and_its_row() -> None:
    taken = [
        Taken(file=name, sha256=digest_of(at), rows=rows)
        for at, (name, rows) in enumerate([("a", 2), ("b", 0), ("c", 1)])
    ]
    text = after(Ledger(), taken, []).text()
    assert [origin(text, ordinal) for ordinal in range(4)] == [("a", 1), ("a", 2), ("c", 1), None]
    assert origin("2024-01-01", 0) is None
    assert origin(None, 0) is None


@pytest.mark.parametrize("text", [None, "", "2024-01-31 10:00:00", "17", "[]", '{"v":1,"new":"x"}'])
def test_the_cursor_of_another_kind_of_source_is_no_ledger(text: str | None) -> None:
    assert read_ledger(text) == Ledger()


# --- which files, and when -------------------------------------------------------------------------------------------


def test_a_file_is_taken_when_it_has_been_at_rest(increments: Drops) -> None:
    path = increments.folder / "new.csv"
    path.write_text("id\n2\n")
    os.utime(path, (1_000, 1_000))  # as `cp -p` does: the time of change is what counts
    changed_us = path.stat().st_ctime_ns // 1_000
    increments.clock.set_wall(changed_us + 4_999_999)
    with pytest.raises(SourceAway, match="no file is at rest yet"):
        increments.read()
    increments.clock.set_wall(changed_us + 5_000_000)
    assert increments.read() == [("2",)]


def test_a_waiting_file_does_not_keep_others(increments: Drops) -> None:
    increments.drop("old.csv", "id\n1\n")
    early = increments.clock.now_us()
    new = increments.folder / "new.csv"
    new.write_text("id\n2\n")
    os.utime(new, ns=(early * 1_000, early * 1_000))
    assert increments.read() == [("1",)]
    (files,) = [one for one in increments.open().describe(".").findings if one.check == "files"]
    assert "2 files are there: 1 at rest" in files.sentence
    assert "1 waits (new.csv: it changed" in files.sentence
    assert "1 waiting to settle" in increments.open().health().version
    increments.rest()
    increments.clock.set_wall(early + 6_000_000)
    assert increments.read() == [("2",)]


def test_a_marker_beside_a_file_says_that_it_is_done(increments: Drops) -> None:
    increments.options |= {"done_suffix": ".done", "settle": "1h"}
    increments.drop("a.csv", "id\n1\n")
    with pytest.raises(SourceAway, match=r"a\.csv\.done has not come"):
        increments.read()
    increments.drop("a.csv.done", "")
    assert increments.read() == [("1",)]


@pytest.mark.parametrize(
    "name",
    [".a.csv", "a.csv.tmp", "a.csv.part", "a.csv.filepart", "a.csv~", "~$a.xlsx", "a.CSV.TMP", ".git/a.csv", "a.log"],
)
def test_a_name_that_says_unfinished_or_no_data_is_passed_over(increments: Drops, name: str) -> None:
    increments.drop("a.csv", "id\n1\n")
    increments.drop(name, "id\n2\n")
    assert increments.read() == [("1",)]
    assert (increments.folder / name).is_file()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_that_leads_out_is_not_followed(increments: Drops, kind: str) -> None:
    outside = increments.folder.parent / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text("id\nsecret\n")
    increments.drop("in/a.csv", "id\n1\n")
    if kind == "file":
        (increments.folder / "b.csv").symlink_to(outside / "secret.csv")
    else:
        (increments.folder / "b").symlink_to(outside)
    (increments.folder / "c.csv").symlink_to(increments.folder / "in" / "a.csv")
    (increments.folder / "loose.csv").symlink_to(increments.folder / "nowhere.csv")
    increments.rest()
    assert increments.read() == [("1",)]
    (files,) = [one for one in increments.open().describe(".").findings if one.check == "files"]
    assert ("b.csv" in files.sentence) == (kind == "file")


def test_a_pipe_is_not_waited_for(increments: Drops) -> None:
    os.mkfifo(increments.folder / "a.csv")
    os.mkfifo(increments.folder / ".pipe")
    (increments.folder / "b.csv").symlink_to(increments.folder / ".pipe")
    increments.drop("c.csv", "id\n1\n")
    assert increments.read("id") == [("1",)]


@pytest.mark.parametrize("table", ["../outside", "/etc", "a/../../b", ""])
def test_a_table_outside_the_folder_is_refused(drops: Drops, table: str) -> None:
    drops.drop("a.csv", "id\n1\n")
    with pytest.raises(SourceRefused, match="does not lie in"):
        drops.open().describe(table)


@pytest.mark.parametrize(
    ("table", "taken"),
    [
        (".", "abcd"),
        ("a.csv", "a"),
        ("*.csv", "a"),
        ("sub", "bcd"),
        ("sub/*.csv", "bc"),
        ("**/c*.csv", "c"),
        ("sub/**", "bcd"),
        ("sub/?.csv", "bc"),
        ("[a].csv", ""),
    ],
)
def test_a_table_is_a_file_a_folder_or_a_pattern(increments: Drops, table: str, taken: str) -> None:
    for name in ("a.csv", "sub/b.csv", "sub/c.csv", "sub/deep/d.csv"):
        increments.drop(name, f"id\n{Path(name).stem}\n")
    if taken:
        assert "".join(row for (row,) in increments.read(table=table)) == taken
    else:
        with pytest.raises(SourceRefused, match="no file or folder") as raised:
            increments.read(table=table)
        assert "'a.csv'" in raised.value.mend


def test_path_may_be_a_pattern(increments: Drops) -> None:
    for name in ("2024/a.csv", "2025/a.csv", "2025/b.csv"):
        increments.drop(name, f"id\n{name}\n")
    path = str(increments.folder / "20*" / "a.csv")
    assert increments.read(path=path) == [("2024/a.csv",), ("2025/a.csv",)]
    assert split_path("drops/**/x-?.csv") == (Path("drops"), "**/x-?.csv")
    assert split_path("drops/all") == (Path("drops/all"), "")


@given(name=st.text("ab./", min_size=1, max_size=8).filter(lambda name: "//" not in name and name.strip("/") == name))
def test_a_name_matches_itself_and_every_pattern_made_of_it(name: str) -> None:
    assert matches(name, name)
    assert matches(name, "**/" + name.rsplit("/", maxsplit=1)[-1])
    assert matches(name, "/".join("*" for _ in name.split("/")))
    assert matches(name, "**/*")
    assert not matches(name, "x" + name)


def test_an_empty_folder_is_away_and_not_an_empty_table(drops: Drops) -> None:
    drops.drop("a.csv", "id\n1\n")
    drops.read()
    (drops.folder / "a.csv").unlink()
    with pytest.raises(SourceAway, match="no file of table"):
        drops.read("id")
    drops.folder.rmdir()
    with pytest.raises(SourceAway, match="no folder"):
        drops.read("id")


def test_a_file_that_is_replaced_while_it_is_read_is_not_taken(increments: Drops) -> None:
    path = increments.drop("a.csv", "id,n\n" + "".join(f"{at},x\n" for at in range(2_000_000)))
    source = increments.open()
    request = ReadRequest(table=".", columns=("id",), key="id", mode="increment")
    with source.read(request) as read:
        batches = read.batches()
        next(batches)
        path.write_text("id,n\n1,y\n")
        with pytest.raises(SourceAway, match="changed or moved while it was read"):
            list(batches)
    increments.drop("a.csv", "id,n\n1,y\n")
    assert increments.read() == [("1", "y")]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_bad_file_stops_the_read_and_nothing_behind_it_is_lost(increments: Drops) -> None:
    increments.drop("1.csv", "id,n\n1,a\n")
    bad = increments.drop("2.csv", "id,n\n2,b,too many\n")
    increments.drop("3.csv", "id,n\n3,c\n")
    for _ in range(2):
        with pytest.raises(SourceRefused, match="row 1 has 3 values") as raised:
            increments.read()
        assert raised.value.where == "2.csv"
        assert increments.ledger is None
    bad.rename(bad.with_suffix(".bad"))
    assert increments.read() == [("1", "a"), ("3", "c")]
    increments.drop("2.csv", "id,n\n2,b\n")
    assert increments.read() == [("2", "b")]


def test_a_file_that_lacks_a_column_is_named(increments: Drops) -> None:
    increments.drop("1.csv", "id,m\n1,a\n")
    increments.drop("2.csv", "id,note\n1,a\n")
    with pytest.raises(SourceRefused, match=r"'1\.csv' has no column 'note'"):
        increments.read("id", "note")


def test_a_cursor_column_is_refused_with_its_mend(drops: Drops) -> None:
    drops.drop("a.csv", "id,at\n1,2\n")
    for mode, cursor in (("increment", "at"), ("keys", None)):
        request = msgspec.convert(
            {"table": ".", "columns": ["id"], "key": "id", "mode": mode, "cursor": cursor}, ReadRequest
        )
        with pytest.raises(SourceRefused) as raised, drops.open().read(request):
            pass
        assert "leave `cursor:`" in raised.value.mend


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "snapshot", "encoding": "klingon"},
        {"mode": "snapshot", "encoding": "hex"},
        {"mode": "snapshot", "delimiter": ";;"},
        {"mode": "snapshot", "delimiter": '"'},
        {"mode": "snapshot", "settle": "soon"},
        {"mode": "snapshot", "done_suffix": "done"},
        {"mode": "increment", "whole": "newest"},
        {"mode": "snapshot", "misfits": "unread"},
        {"mode": "both"},
        {"delimiter": ";"},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], drops: Drops) -> None:
    config = SourceConfig(name="drops", kind="files", options={"path": "x", **options})
    with pytest.raises(SourceRefused, match="options do not fit"):
        open_source(config, drops.clock)


def test_it_writes_nothing(drops: Drops) -> None:
    drops.drop("a.csv.gz", b"")
    drops.drop("b.parquet", pa.table({"id": [1]}))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in drops.folder.rglob("*")}
    assert drops.read(table="b.parquet") == [(1,)]
    with pytest.raises(SourceRefused):
        drops.read("id", table="a.csv.gz")
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in drops.folder.rglob("*")}
