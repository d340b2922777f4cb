from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mainstay.core.errors import Corrupt, Fenced, LeaseOwned
from mainstay.core.ports import Write
from mainstay.store.home import Home
from mainstay.store.lease import NAME, SPACE, take_lease
from mainstay.store.memory import MemoryState


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path, "churn")
    home.create()
    return home


def test_an_owned_lease_names_its_owner(home: Home) -> None:
    state = MemoryState()
    with take_lease(home, owner="pid 7 on büro: mainstay up", state=state) as lease:
        with pytest.raises(LeaseOwned) as caught:
            take_lease(home, owner="another", state=state)
        assert caught.value.owner == "pid 7 on büro: mainstay up"
        assert caught.value.mend
        assert lease.token == 1
        record = state.get(SPACE, NAME)
        assert record is not None
        assert record.version == 1, "a refused taking counts nothing"


def test_a_released_lease_can_be_taken_and_counts_on(home: Home) -> None:
    state = MemoryState()
    for token in (1, 2, 3):
        lease = take_lease(home, owner="x" * 5000, state=state)
        assert lease.token == token
        lease.release()
        lease.release()
    assert stat.S_IMODE(home.lease.stat().st_mode) == 0o600


def test_taking_fences_the_one_before_in_state(home: Home) -> None:
    state = MemoryState()
    with take_lease(home, owner="first", state=state) as first:
        pass
    with take_lease(home, owner="second", state=state), pytest.raises(Fenced):
        state.commit([Write(space="a", name="n", body=b"")], token=first.token)


def test_a_token_that_cannot_be_counted_leaves_the_lease_free(home: Home) -> None:
    state = MemoryState()
    state.commit([Write(space=SPACE, name=NAME, body=b"not json")])
    with pytest.raises(Corrupt, match="token cannot be read"):
        take_lease(home, owner="me", state=state)
    with take_lease(home, owner="me", state=MemoryState()) as lease:
        assert lease.token == 1


def test_a_process_that_is_started_does_not_inherit_the_lock(home: Home) -> None:
    with take_lease(home, owner="me", state=MemoryState()) as lease:
        assert os.get_inheritable(lease._handle) is False
