from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from mainstay.core.clock import DAY, HOUR, SECOND
from mainstay.core.errors import NotFound, Refused, StoreBusy
from mainstay.core.ports import Write
from mainstay.core.records import ApiKey, encode
from mainstay.serving import key_ring
from mainstay.serving.callers import Callers
from mainstay.serving.key_ring import KeyRing
from mainstay.serving.keys import (
    allows,
    create_key,
    digest,
    find,
    known_keys,
    list_keys,
    live,
    old_until,
    revoke_key,
    rotate_key,
)
from mainstay.store.home import Home
from mainstay.store.memory import MemoryState
from mainstay.store.state_sqlite import SqliteState
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


def test_an_id_that_is_nearly_one_is_told_which() -> None:
    state, clock = MemoryState(), FakeClock()
    _, key = create_key(state, "crm", "predict", clock=clock, random=bytes)
    with pytest.raises(NotFound) as told:
        revoke_key(state, key.id[:-1], clock=clock)
    assert told.value.mend == f"did you mean {key.id}?"
    with pytest.raises(NotFound, match="no API key") as told:
        revoke_key(state, "zzzz", clock=clock)
    assert told.value.mend == "mainstay key list"


def test_a_rotated_key_has_two_secrets_until_the_overlap_is_over() -> None:
    clock = FakeClock()
    state = MemoryState()
    old, record = create_key(state, "crm", "operate", clock=clock, expires_us=clock.now_us() + 10 * DAY)
    clock.advance(DAY)
    new, rotated = rotate_key(state, record.id, HOUR, clock=clock)
    assert new.startswith(f"msk_{record.id}_")
    assert new != old
    same = (rotated.id, rotated.name, rotated.roles, rotated.rate)
    assert same == (record.id, record.name, record.roles, record.rate)
    now = clock.now_us()
    assert rotated.expires_us == now + 10 * DAY  # as long as the one before was given
    known = known_keys(state)
    assert find(known, old.encode(), now + HOUR - 1) is not None
    assert find(known, old.encode(), now + HOUR) is None
    assert find(known, new.encode(), now + HOUR) == rotated
    assert known[digest(old)].replaced_us == now


def test_rotating_at_once_again_and_never_beyond_an_end() -> None:
    clock = FakeClock()
    state = MemoryState()
    first, record = create_key(state, "crm", "predict", clock=clock)
    second, _ = rotate_key(state, record.id, HOUR, clock=clock)
    third, newest = rotate_key(state, record.id, 0, clock=clock, expires_us=clock.now_us() + DAY)
    known = known_keys(state)
    alive = [find(known, token.encode(), clock.now_us()) for token in (first, second, third)]
    assert alive == [None, None, newest]
    soon = clock.now_us() + DAY
    fourth, _ = rotate_key(state, record.id, 7 * DAY, clock=clock)
    assert find(known_keys(state), third.encode(), soon) is None  # its own end came before the overlap's
    assert old_until(list_keys(state)) == soon, "and that is what is told"
    assert old_until([newest]) is None
    revoke_key(state, record.id, clock=clock)
    assert not [key for key in list_keys(state) if live(key, clock.now_us())]
    assert find(known_keys(state), fourth.encode(), clock.now_us()) is None
    with pytest.raises(Refused, match="revoked or expired"):
        rotate_key(state, record.id, HOUR, clock=clock)
    with pytest.raises(NotFound):
        rotate_key(state, "nobody", HOUR, clock=clock)


def test_an_api_key_belongs_to_one_integration(tmp_path: Path) -> None:
    churn, upsell = (_state_of(tmp_path, name) for name in ("churn", "upsell"))
    token, record = create_key(churn, "crm", "admin", clock=CLOCK)
    rings = KeyRing(churn), KeyRing(upsell)
    for ring in rings:
        ring.refresh()
    now = CLOCK.now_us()
    assert [find(ring.now, token.encode(), now) for ring in rings] == [record, None]
    churn.close()
    upsell.close()


def _state_of(root: Path, name: str) -> SqliteState:
    home = Home(root, name)
    home.create()
    return SqliteState(home.state)


def test_the_ring_keeps_what_it_knew_while_state_cannot_be_read() -> None:
    class Gone(MemoryState):
        away = False

        def changed(self) -> int:
            if self.away:
                raise StoreBusy("no answer")
            return super().changed()

    state = Gone()
    _, record = create_key(state, "a", "predict", clock=CLOCK)
    ring = KeyRing(state)
    ring.refresh()
    before = ring.now
    state.away = True
    revoke_key(state, record.id, clock=CLOCK)
    ring.refresh()
    assert ring.now is before
    state.away = False
    ring.refresh()
    assert [key.revoked_us for key in ring.now.values()] == [CLOCK.now_us()]


class Slow(MemoryState):
    """It counts who looks, and may keep them waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.answers = threading.Event()
        self.answers.set()

    def changed(self) -> int:
        self.looks += 1
        self.answers.wait(10)
        return super().changed()


def test_one_look_for_a_new_key_serves_all_who_came_before_it_began() -> None:
    state = Slow()
    ring = KeyRing(state)

    async def all_of_them() -> list[ApiKey | None]:
        token, _ = create_key(state, "crm", "predict", clock=CLOCK)
        await asyncio.gather(*(ring.look() for _ in range(100)))
        first = find(ring.now, token.encode(), CLOCK.now_us())
        token, _ = create_key(state, "crm", "predict", clock=CLOCK)
        await ring.look()
        return [first, find(ring.now, token.encode(), CLOCK.now_us())]

    assert None not in asyncio.run(all_of_them())
    assert state.looks == 2


def test_nobody_waits_long_for_a_state_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ring, "LOOK_MOST_S", 0.05)
    state = Slow()
    state.answers.clear()
    ring = KeyRing(state)

    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*(ring.look() for _ in range(100))), 5)
        assert state.looks == 1
        state.answers.set()
        token, _ = create_key(state, "crm", "predict", clock=CLOCK)
        await asyncio.sleep(0.06)
        await ring.look()
        assert find(ring.now, token.encode(), CLOCK.now_us()) is not None

    asyncio.run(all_of_them())


def test_the_last_use_of_each_secret_is_known_also_after_the_ring_changed() -> None:
    clock = FakeClock()
    state = MemoryState()
    old, record = create_key(state, "a", "predict", clock=clock)
    ring = KeyRing(state)
    ring.refresh()
    callers = Callers(ring, clock)
    assert callers.used() == {}
    assert callers.who(b"msk_x_y") is None
    assert callers.who(old.encode()) == record
    first = clock.now_us()
    clock.advance(SECOND)
    new, _ = rotate_key(state, record.id, HOUR, clock=clock)
    ring.refresh()
    assert callers.who(new.encode()) is not None
    clock.advance(SECOND)
    assert callers.who(new.encode()) is not None
    assert callers.used() == {digest(old): first, digest(new): clock.now_us()}
    clock.advance(HOUR)
    assert callers.who(old.encode()) is None
    assert callers.used()[digest(old)] == first


def test_a_record_that_cannot_be_read_keeps_no_revoked_key_alive() -> None:
    state, clock = MemoryState(), FakeClock(DAY)
    token, record = create_key(state, "crm", "predict", clock=clock)
    ring = KeyRing(state)
    ring.refresh()
    assert find(ring.now, token.encode(), clock.now_us()) is not None
    revoked = msgspec.structs.replace(record, revoked_us=clock.now_us())
    state.commit(
        [
            Write(space="api_key", name="0" * 64, body=b'{"id": 7'),
            Write(space="api_key", name=digest(token), body=encode(revoked)),
        ]
    )
    ring.refresh()
    assert find(ring.now, token.encode(), clock.now_us()) is None


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"id": 7}', b"[]"])
def test_a_record_that_cannot_be_read_is_nobodys_key_and_hinders_no_other(body: bytes) -> None:
    state = MemoryState()
    _, record = create_key(state, "crm", "predict", clock=CLOCK)
    state.commit([Write(space="api_key", name="broken", body=body)])
    assert [one.id for one in list_keys(state)] == [record.id]
    _, second = rotate_key(state, record.id, 0, clock=CLOCK)
    assert second.id == record.id
    assert revoke_key(state, record.id, clock=CLOCK).revoked_us is not None
    with pytest.raises(NotFound, match="there is no API key"):
        revoke_key(state, "nobody", clock=CLOCK)
    assert next(item.body for item in state.scan("api_key") if item.name == "broken") == body
