"""Whatever is committed in whatever order, state holds what a dictionary would."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.core.errors import Conflict, Fenced
from mainstay.core.ports import State, Write
from mainstay.store.state_postgres import PostgresState
from mainstay.store.state_sqlite import SqliteState

NAMES = st.one_of(
    st.sampled_from(["a", "a/1", "a/2", "b", "", "a%", "é"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
WRITES = st.lists(
    st.builds(
        Write,
        space=st.sampled_from(["one", "two"]),
        name=NAMES,
        body=st.one_of(st.none(), st.binary(max_size=8)),
        expect=st.one_of(st.none(), st.integers(0, 3)),
    ),
    max_size=4,
)
COMMITS = st.lists(st.tuples(WRITES, st.one_of(st.none(), st.integers(0, 3))), max_size=8)

Model = dict[tuple[str, str], tuple[int, bytes]]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def state(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    folder = tmp_path_factory.mktemp("state")
    store: State
    if request.param == "postgres":
        store = PostgresState(request.getfixturevalue("state_database").url, str(folder))
    else:
        store = SqliteState(folder / "state.sqlite")
    yield store
    store.close()


@pytest.fixture(scope="module")
def fresh() -> Iterator[int]:
    """Numbers that set apart what one example writes from what the others wrote."""
    return count(1)


def after(model: Model, writes: list[Write]) -> Model | None:
    """The model after a commit; None when an expectation fails."""
    then = dict(model)
    for write in writes:
        version, _ = then.get((write.space, write.name), (0, b""))
        if write.expect not in {None, version}:
            return None
        if write.body is None:
            then.pop((write.space, write.name), None)
        else:
            then[write.space, write.name] = (version + 1, write.body)
    return then


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=COMMITS, prefix=NAMES)
def test_commits_are_those_of_a_dictionary(
    commits: list[tuple[list[Write], int | None]], prefix: str, state: State, fresh: Iterator[int]
) -> None:
    number = next(fresh)
    model: Model = {}
    highest = base = number * 10
    state.commit([], token=base)
    for writes, token in commits:
        own = [
            Write(space=f"{write.space} {number}", name=write.name, body=write.body, expect=write.expect)
            for write in writes
        ]
        then = after(model, own)
        given_token = None if token is None else base + token
        before = state.changed()
        if given_token is not None and given_token < highest:
            with pytest.raises(Fenced):
                state.commit(own, token=given_token)
        elif then is None:
            with pytest.raises(Conflict):
                state.commit(own, token=given_token)
        else:
            state.commit(own, token=given_token)
            highest = max(highest, given_token or 0)
            if then != model:
                assert state.changed() != before
            model = then
    for space in (f"one {number}", f"two {number}"):
        for start in ("", prefix):
            expected = sorted((n, *rest) for (s, n), rest in model.items() if s == space and n.startswith(start))
            assert [(each.name, each.version, each.body) for each in state.scan(space, start)] == expected
    for (space, name), (version, body) in model.items():
        found = state.get(space, name)
        assert found is not None
        assert (found.version, found.body) == (version, body)
