"""What every `Online` must do. Run each function of `ONLINE_SUITE` with a maker of handles onto one empty store."""

# ruff: noqa: D103 - the name of a check is its sentence

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from threading import Thread

from mainstay.core.errors import Fenced
from mainstay.core.ports import Online, OnlineRow
from mainstay.core.verdicts import Verdict
from mainstay.testing.state_suite import raised

OpenOnline = Callable[[], Online]
"""Each call: one more handle onto the same store, which is empty at the first. Handles are closed by the suite."""

SET, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def online_row(key: str, plan: int = 1, values: bytes | None = b"[1]") -> OnlineRow:
    """A row whose every part tells its plan, so that half a row could be seen."""
    return OnlineRow(
        key=key,
        plan=plan,
        values=values,
        event_us=plan,
        landed_us=plan,
        verdict=Verdict.PASS,
        sentence=str(plan),
        held=False,
        held_as_of_us=None,
        deleted=False,
        evaluated_us=plan,
        positions=b'{"customers":[%d,1]}' % plan,
    )


def a_row_returns_as_it_was_put(open_online: OpenOnline) -> None:
    rows = [
        online_row("7590-VHVEG"),
        OnlineRow("Müller; DROP 'x'", 3, None, None, 7, Verdict.WARN, "held by a.b", True, 5, True, None, b"{}"),
        online_row("", values=b""),
    ]
    with closing(open_online()) as online, closing(open_online()) as reader:
        assert online.get(SET, "7590-VHVEG") is None
        assert online.put(SET, rows, token=1) == 3
        for row in rows:
            assert reader.get(SET, row.key) == row
        assert reader.get(SET, "7590-vhveg") is None, "keys are compared letter by letter"
        assert reader.get(OTHER, "7590-VHVEG") is None, "feature sets are apart"


def a_higher_plan_stands(open_online: OpenOnline) -> None:
    with closing(open_online()) as online:
        assert online.put(SET, [online_row("a", 5), online_row("b", 1)], token=1) == 2
        assert online.put(SET, [online_row("a", 4), online_row("b", 2)], token=1) == 1
        assert online.get(SET, "a") == online_row("a", 5)
        assert online.get(SET, "b") == online_row("b", 2)


def many_rows_are_judged_one_by_one(open_online: OpenOnline) -> None:
    """However many a store writes at once: each row stands or falls by its own plan, and is counted by what it did."""
    with closing(open_online()) as online:
        standing = [online_row(f"k{number:04d}", 9) for number in range(0, 1037, 3)]
        assert online.put(SET, standing, token=1) == len(standing)
        many = [online_row(f"k{number:04d}", 2) for number in range(1037)]
        again = [online_row("k0001", 3, b"[3]"), online_row("k0001", 1)]
        assert online.put(SET, [*many, *again], token=1) == 1037 - len(standing) + 1
        assert online.count(SET) == 1037
        assert [online.get(SET, row.key) for row in standing] == standing
        assert online.get(SET, "k0001") == again[0]
        assert online.get(SET, "k1036") == many[-1]


def an_equal_plan_is_redone(open_online: OpenOnline) -> None:
    with closing(open_online()) as online:
        online.put(SET, [online_row("a", 5, b"[1]")], token=1)
        assert online.put(SET, [online_row("a", 5, b"[2]")], token=1) == 1
        assert online.get(SET, "a") == online_row("a", 5, b"[2]")


def get_many_returns_what_is_there(open_online: OpenOnline) -> None:
    with closing(open_online()) as online:
        online.put(SET, (online_row(f"k{number:04d}") for number in range(1000)), token=1)
        online.put(OTHER, [online_row("only-here")], token=1)
        asked = [f"k{number:04d}" for number in range(1, 1001)] + ["only-here", "k0001"]
        found = online.get_many(SET, asked)
        assert found == {f"k{number:04d}": online_row(f"k{number:04d}") for number in range(1, 1000)}
        assert online.get_many(SET, []) == {}


def keys_and_count_are_of_one_set(open_online: OpenOnline) -> None:
    with closing(open_online()) as online:
        assert (list(online.keys(SET)), online.count(SET)) == ([], 0)
        online.put(SET, (online_row(key) for key in ("b", "a", "", "é")), token=1)
        online.put(OTHER, [online_row("z")], token=1)
        assert sorted(online.keys(SET)) == ["", "a", "b", "é"]
        assert online.count(SET) == 4


def remove_leaves_higher_plans(open_online: OpenOnline) -> None:
    with closing(open_online()) as online:
        online.put(SET, [online_row("a", 1), online_row("b", 3), online_row("c", 2)], token=1)
        assert online.remove(SET, ["a", "b", "c", "nobody"], plan=2, token=1) == 2
        assert list(online.keys(SET)) == ["b"]
        assert online.remove(OTHER, ["b"], plan=9, token=1) == 0


def prune_removes_lower_plans(open_online: OpenOnline) -> None:
    online = open_online()
    online.put("one", [online_row(f"k{number}", plan=number) for number in range(1, 6)], token=1)
    online.put("two", [online_row("k1", plan=1)], token=1)
    assert online.prune("one", below=4, token=1) == 3
    assert list(online.keys("one")) == ["k4", "k5"]
    assert online.count("two") == 1


def drop_forgets_one_set(open_online: OpenOnline) -> None:
    with closing(open_online()) as online, closing(open_online()) as reader:
        online.put(SET, (online_row(f"k{number}", 9) for number in range(1000)), token=1)
        online.put(OTHER, [online_row("a")], token=1)
        assert reader.get(SET, "k1") == online_row("k1", 9)
        online.drop(SET, token=1)
        assert (reader.get(SET, "k1"), reader.count(SET), list(reader.keys(SET))) == (None, 0, [])
        assert reader.get(OTHER, "a") == online_row("a")
        online.put(SET, [online_row("k1", 1)], token=1)
        assert reader.get(SET, "k1") == online_row("k1", 1), "a dropped set can come back, with any plan"
        online.drop("never put", token=1)


def a_change_is_told_to_every_handle(open_online: OpenOnline) -> None:
    """Where a store tells changes at all; beside rows that changed, others may have been written as they were."""
    with closing(open_online()) as online, closing(open_online()) as reader:
        seen = [(online.changed(), reader.changed())]
        if seen[0] == (None, None):
            return
        assert (online.changed(), reader.changed()) == seen[0], "nothing was written"
        for write in (
            lambda: online.put(SET, [online_row("a", 1), online_row("b", 1)], token=1),
            lambda: online.put(SET, [online_row("a", 2)], token=1),
            lambda: online.remove(SET, ["a"], plan=2, token=1),
            lambda: online.prune(SET, below=2, token=1),
            lambda: online.drop(SET, token=1),
        ):
            write()
            seen.append((online.changed(), reader.changed()))
        for told in zip(*seen, strict=True):
            assert len(set(told)) == len(told), "each change is another number"


def a_lower_token_is_fenced(open_online: OpenOnline) -> None:
    with closing(open_online()) as old, closing(open_online()) as new:
        old.put(SET, [online_row("a", 1)], token=1)
        new.put(SET, [], token=2)
        raised(Fenced, lambda: old.put(SET, [online_row("a", 2)], token=1))
        raised(Fenced, lambda: old.put(SET, [], token=1))
        raised(Fenced, lambda: old.remove(SET, ["a"], plan=9, token=1))
        raised(Fenced, lambda: old.drop(SET, token=1))
        assert new.get(SET, "a") == online_row("a", 1), "the fenced writer changed nothing"
        assert new.put(SET, [online_row("a", 2)], token=2) == 1


def many_rows_are_all_written(open_online: OpenOnline) -> None:
    with closing(open_online()) as online:
        rows = [online_row(f"k{number:06d}", 1 + number % 2) for number in range(20_000)]
        assert online.put(SET, iter(rows), token=1) == 20_000
        assert online.count(SET) == 20_000
        assert online.put(SET, (online_row(row.key, 1) for row in rows), token=1) == 10_000
        assert list(online.keys(SET)) == [row.key for row in rows]
        for row in rows[::1999]:
            found = online.get(SET, row.key)
            assert found is not None
            assert found.plan == row.plan


def readers_see_whole_rows_that_never_go_back(open_online: OpenOnline) -> None:
    """Threads read through one handle while another handle writes: each row is of one plan, and plans only grow."""
    plans = 15
    faults: list[str] = []
    with closing(open_online()) as writer, closing(open_online()) as reader:
        keys = [f"k{number}" for number in range(50)]
        writer.put(SET, [online_row(key, 1) for key in keys], token=1)

        def read() -> None:
            seen = dict.fromkeys(keys, 0)
            while min(seen.values()) < plans and not faults:
                for key in keys:
                    row = reader.get(SET, key)
                    if row is None or row != online_row(key, row.plan):
                        faults.append(f"{key} is not whole: {row}")
                    elif row.plan < seen[key]:
                        faults.append(f"{key} went back from plan {seen[key]} to {row.plan}")
                    else:
                        seen[key] = row.plan

        threads = [Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for plan in range(2, plans + 1):
            writer.put(SET, [online_row(key, plan) for key in keys], token=1)
        for thread in threads:
            thread.join()
    assert faults == []


ONLINE_SUITE: tuple[Callable[[OpenOnline], None], ...] = (
    a_row_returns_as_it_was_put,
    a_higher_plan_stands,
    many_rows_are_judged_one_by_one,
    an_equal_plan_is_redone,
    get_many_returns_what_is_there,
    keys_and_count_are_of_one_set,
    remove_leaves_higher_plans,
    prune_removes_lower_plans,
    drop_forgets_one_set,
    a_change_is_told_to_every_handle,
    a_lower_token_is_fenced,
    many_rows_are_all_written,
    readers_see_whole_rows_that_never_go_back,
)
