from __future__ import annotations

import pytest

from mainstay.core.clock import SECOND
from mainstay.core.errors import NotFound, Refused
from mainstay.serving.keys import allows, create_key, digest, find, list_keys, revoke_key
from mainstay.store.memory import MemoryState
from mainstay.testing.clock import FakeClock

CLOCK = FakeClock()


def test_a_key_is_shown_once_and_kept_as_a_digest() -> None:
    state = MemoryState()
    token, record = create_key(state, "crm", "predict", clock=CLOCK)
    assert token.startswith(f"msk_{record.id}_")
    assert len(token.rpartition("_")[2]) == 52
    (stored,) = state.scan("api_key")
    assert stored.name == digest(token)
    assert token.rpartition("_")[2].encode() not in stored.body
    assert create_key(state, "crm", "predict", clock=CLOCK)[0] != token


def test_roles_include_the_ones_before() -> None:
    state = MemoryState()
    _, operate = create_key(state, "ops", "operate", clock=CLOCK)
    assert allows(operate, "predict")
    assert allows(operate, "operate")
    assert not allows(operate, "admin")
    with pytest.raises(Refused, match="wanted a role"):
        create_key(state, "x", "root", clock=CLOCK)  # type: ignore[arg-type]


def test_revoked_and_expired_keys_are_not_found() -> None:
    state = MemoryState()
    token, record = create_key(state, "a", "predict", clock=CLOCK)
    passing, expiring = create_key(state, "b", "predict", clock=CLOCK, expires_us=CLOCK.now_us() + SECOND)
    keys = {digest(token): record, digest(passing): expiring}
    now = CLOCK.now_us()
    assert find(keys, token.encode(), now) == record
    assert find(keys, passing.encode(), now) == expiring
    assert find(keys, passing.encode(), now + SECOND) is None
    assert find(keys, b"msk_x_y", now) is None
    revoked = revoke_key(state, record.id, clock=CLOCK)
    assert find({digest(token): revoked}, token.encode(), now) is None
    assert revoke_key(state, record.id, clock=CLOCK) == revoked
    assert {each.id for each in list_keys(state)} == {record.id, expiring.id}
    with pytest.raises(NotFound):
        revoke_key(state, "nobody", clock=CLOCK)
