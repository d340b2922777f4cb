"""What every `State` must do. Run each function of `STATE_SUITE` with a maker of handles onto one empty store.

```python
@pytest.mark.parametrize("check", STATE_SUITE)
def test_my_state(check, tmp_path):
    check(lambda: MyState(tmp_path / "state"))
```
"""

# ruff: noqa: D103 - the name of a check is its sentence

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from threading import Thread

from mainstay.core.audit import Change
from mainstay.core.errors import Conflict, Fenced, MainstayError
from mainstay.core.ports import State, Versioned, Write
from mainstay.store import audit

OpenState = Callable[[], State]
"""Each call: one more handle onto the same store, which is empty at the first. Handles are closed by the suite."""


def raised(kind: type[MainstayError], act: Callable[[], object]) -> MainstayError:
    """The error of `kind` that `act` raises; AssertionError when it raises none."""
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"nothing raised {kind.__name__}")


def get_returns_what_was_committed(open_state: OpenState) -> None:
    with closing(open_state()) as state:
        assert state.get("dataset", "customers") is None
        state.commit([Write(space="dataset", name="customers", body=b'{"v":1}')])
        wanted = Versioned(space="dataset", name="customers", version=1, body=b'{"v":1}')
        assert state.get("dataset", "customers") == wanted
        assert state.get("batch", "customers") is None, "spaces are apart"


def versions_count_writes(open_state: OpenState) -> None:
    with closing(open_state()) as state:
        for number in range(1, 4):
            state.commit([Write(space="a", name="n", body=b"", expect=number - 1)])
            found = state.get("a", "n")
            assert found is not None
            assert found.version == number


def a_failed_expectation_writes_nothing(open_state: OpenState) -> None:
    with closing(open_state()) as state:
        state.commit([Write(space="a", name="one", body=b"1")])
        for expect in (0, 2):
            writes = [
                Write(space="a", name="two", body=b"2"),
                Write(space="a", name="one", body=b"changed", expect=expect),
                Write(space="a", name="three", body=b"3"),
            ]
            error = raised(Conflict, lambda: state.commit(writes))  # noqa: B023 - called at once
            assert "a/one" in str(error), "the error names the record"
            assert "changed" not in str(error), "and never shows what is in it"
        assert [(each.name, each.body) for each in state.scan("a")] == [("one", b"1")]


def a_deletion_can_be_expected_and_repeated(open_state: OpenState) -> None:
    with closing(open_state()) as state:
        state.commit([Write(space="a", name="n", body=b"x")])
        raised(Conflict, lambda: state.commit([Write(space="a", name="n", body=None, expect=2)]))
        state.commit([Write(space="a", name="n", body=None, expect=1)])
        assert state.get("a", "n") is None
        state.commit([Write(space="a", name="n", body=None)])
        state.commit([Write(space="a", name="n", body=b"again", expect=0)])
        found = state.get("a", "n")
        assert found is not None
        assert found.version == 1


def writes_of_one_commit_see_each_other(open_state: OpenState) -> None:
    with closing(open_state()) as state:
        state.commit([Write(space="a", name="n", body=b"1", expect=0), Write(space="a", name="n", body=b"2", expect=1)])
        found = state.get("a", "n")
        assert found is not None
        assert (found.version, found.body) == (2, b"2")


def scan_is_by_prefix_and_in_order(open_state: OpenState) -> None:
    names = [
        "customers/000000000002",
        "customers/000000000010",
        "customers",
        "customersX/1",
        "tickets/1",
        "100%",
        "a_b",
    ]
    with closing(open_state()) as state:
        state.commit([Write(space="batch", name=name, body=name.encode()) for name in names])
        state.commit([Write(space="other", name="customers/1", body=b"")])
        assert [each.name for each in state.scan("batch")] == sorted(names)
        found = [each.name for each in state.scan("batch", "customers/")]
        assert found == ["customers/000000000002", "customers/000000000010"]
        assert [each.name for each in state.scan("batch", "a_")] == ["a_b"], "no character of a prefix is a wildcard"
        assert [each.name for each in state.scan("batch", "100%")] == ["100%"]
        assert state.scan("nothing") == ()


def scan_returns_many(open_state: OpenState) -> None:
    with closing(open_state()) as state:
        names = [f"customers/{number:012d}" for number in range(1200)]
        state.commit([Write(space="batch", name=name, body=b"") for name in [*names, "tickets/1"]])
        assert [each.name for each in state.scan("batch", "customers/")] == names


def changed_tells_commits_of_every_handle(open_state: OpenState) -> None:
    with closing(open_state()) as mine, closing(open_state()) as other:
        for writer in (mine, other, mine):
            before = mine.changed()
            assert mine.changed() == before, "it stands still while nobody commits"
            writer.commit([Write(space="a", name="n", body=b"")])
            assert mine.changed() != before


def handles_share_one_store(open_state: OpenState) -> None:
    with closing(open_state()) as mine, closing(open_state()) as other:
        mine.commit([Write(space="a", name="n", body=b"mine", expect=0)])
        raised(Conflict, lambda: other.commit([Write(space="a", name="n", body=b"theirs", expect=0)]))
        found = other.get("a", "n")
        assert found is not None
        assert found.body == b"mine"


def a_lower_token_is_fenced(open_state: OpenState) -> None:
    with closing(open_state()) as old, closing(open_state()) as new:
        old.commit([Write(space="a", name="n", body=b"1")], token=1)
        new.commit([], token=2)
        raised(Fenced, lambda: old.commit([Write(space="a", name="n", body=b"2")], token=1))
        found = new.get("a", "n")
        assert found is not None
        assert found.body == b"1", "the fenced commit wrote nothing"
        new.commit([Write(space="a", name="n", body=b"3")], token=2)
        old.commit([Write(space="a", name="m", body=b"4")])  # Without a token: a CLI's request needs no lease.


def a_lost_commit_does_not_move_the_fence(open_state: OpenState) -> None:
    with closing(open_state()) as state:
        raised(Conflict, lambda: state.commit([Write(space="a", name="n", body=b"", expect=7)], token=9))
        state.commit([Write(space="a", name="n", body=b"")], token=1)


def concurrent_counting_loses_nothing(open_state: OpenState) -> None:
    """Four handles in four threads count one record up by compare-and-set: every increment is there in the end."""
    rounds = 20

    def count() -> None:
        with closing(open_state()) as state:
            for _ in range(rounds):
                while True:
                    found = state.get("a", "count")
                    value, version = (0, 0) if found is None else (int(found.body), found.version)
                    try:
                        state.commit([Write(space="a", name="count", body=b"%d" % (value + 1), expect=version)])
                    except Conflict:
                        continue
                    break

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(open_state()) as state:
        found = state.get("a", "count")
        assert found is not None
        assert (int(found.body), found.version) == (4 * rounds, 4 * rounds)


def changes_recorded_at_once_are_one_chain(open_state: OpenState) -> None:
    """Four handles in four threads record changes, each with a write of its own: one chain, nothing lost, no fork."""
    rounds = 10

    def change(who: int) -> None:
        with closing(open_state()) as state:
            for number in range(rounds):
                told = Change(what="key.create", object=f"{who}/{number}", by=f"writer {who}", at_us=number)
                audit.commit(state, [Write(space="a", name=f"{who}/{number}", body=b"", expect=0)], told)

    threads = [Thread(target=change, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(open_state()) as state:
        checked = audit.verify(state)
        assert checked.fault is None
        assert checked.records == len(state.scan("a")) == 4 * rounds
        for who in range(4):
            mine = [one.object for one in audit.records(state) if one.by == f"writer {who}"]
            assert mine == [f"{who}/{number}" for number in range(rounds)]


def a_change_that_is_refused_is_not_recorded(open_state: OpenState) -> None:
    with closing(open_state()) as state:
        told = Change(what="key.create", by="one", at_us=1)
        audit.commit(state, [Write(space="a", name="n", body=b"1", expect=0)], told)
        error = raised(
            Conflict, lambda: audit.commit(state, [Write(space="a", name="n", body=b"2", expect=0)], told, token=2)
        )
        assert "a/n" in str(error), "the caller's own record is named, not the chain's"
        state.commit([], token=5)
        raised(Fenced, lambda: audit.commit(state, [Write(space="a", name="m", body=b"")], told, token=4))
        assert audit.verify(state).records == 1
        assert state.get("a", "m") is None


STATE_SUITE: tuple[Callable[[OpenState], None], ...] = (
    get_returns_what_was_committed,
    versions_count_writes,
    a_failed_expectation_writes_nothing,
    a_deletion_can_be_expected_and_repeated,
    writes_of_one_commit_see_each_other,
    scan_is_by_prefix_and_in_order,
    scan_returns_many,
    changed_tells_commits_of_every_handle,
    handles_share_one_store,
    a_lower_token_is_fenced,
    a_lost_commit_does_not_move_the_fence,
    concurrent_counting_loses_nothing,
    changes_recorded_at_once_are_one_chain,
    a_change_that_is_refused_is_not_recorded,
)
