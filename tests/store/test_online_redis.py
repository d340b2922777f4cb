"""What Redis as the place of online adds: it goes away, it forgets, it is shared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count

import pytest
from redis import Redis

from mainstay.core.errors import Corrupt, Fenced, NotFound, StoreAway, StoreError, StoreFull, StoreTooNew
from mainstay.core.ports import OnlineRow
from mainstay.store.online_redis import CHUNK, CHUNK_BYTES, RedisOnline, durable
from mainstay.testing.online_suite import SET, online_row
from mainstay.testing.redis_server import RedisServer

NAMES = count()


@pytest.fixture
def name() -> str:
    return f"churn-{next(NAMES)}"


@pytest.fixture
def online(redis: RedisServer, name: str) -> Iterator[RedisOnline]:
    redis.start()
    store = RedisOnline(redis.url, name)
    yield store
    redis.start()
    store.close()


@pytest.fixture
def raw(redis: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(redis.url) as client:
        yield client


def test_integrations_share_a_redis(online: RedisOnline, redis: RedisServer, name: str) -> None:
    online.put(SET, [online_row("a", 5)], token=9)
    with closing(RedisOnline(redis.url, name + "-other")) as other:
        assert other.get(SET, "a") is None
        assert other.put(SET, [online_row("a", 1)], token=1) == 1, "each has a fence of its own"
        other.drop(SET, token=1)
    assert online.get(SET, "a") == online_row("a", 5)


def test_what_was_acknowledged_survives_a_kill(online: RedisOnline, redis: RedisServer) -> None:
    for plan in range(1, 4):
        rows = [online_row(f"k{number}", plan) for number in range(700)]
        assert online.put(SET, rows, token=plan) == 700
        redis.kill9()
        with pytest.raises(StoreAway, match="did not answer"):
            online.get(SET, "k0")
        with pytest.raises(StoreAway):
            online.put(SET, rows, token=plan)
        redis.start()
        assert online.get_many(SET, [row.key for row in rows]) == {row.key: row for row in rows}
        if plan > 1:
            with pytest.raises(Fenced):
                online.put(SET, rows, token=plan - 1)


def test_a_restart_is_met_without_a_word(online: RedisOnline, redis: RedisServer) -> None:
    online.put(SET, [online_row("a")], token=1)
    redis.stop()
    redis.start()
    assert online.get(SET, "a") == online_row("a")
    redis.stop()
    redis.start()
    assert online.put(SET, [online_row("a", 2)], token=1) == 1, "scripts that Redis forgot are given to it again"


def test_readers_do_not_wait_for_a_redis_that_hangs(online: RedisOnline, redis: RedisServer, name: str) -> None:
    with closing(RedisOnline(redis.url, name, writable=False)) as reader:
        assert reader.get(SET, "a") is None
        redis.freeze()
        try:
            with pytest.raises(StoreAway, match="did not answer:"):
                reader.get(SET, "a")
            for _ in range(50):
                with pytest.raises(StoreAway, match="a moment ago"):
                    reader.get(SET, "a")
        finally:
            redis.thaw()
        online.put(SET, [online_row("a")], token=1)
        _until(lambda: _reads(reader))
        assert reader.get(SET, "a") == online_row("a"), "the late answer to an earlier question is not taken for it"


def _reads(reader: RedisOnline) -> bool:
    try:
        reader.get(SET, "a")
    except StoreAway:
        return False
    return True


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"appendonly": "no"}, "appendonly is no"),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "appendfsync is everysec"),
        ({"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "allkeys-lru"}, "is allkeys-lru"),
        ({}, "appendonly is unknown"),
    ],
)
def test_settings_that_forget(settings: dict[str, str], fault: str) -> None:
    (found,) = durable(settings)
    assert found.endswith(fault)


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
def test_settings_that_keep(policy: str) -> None:
    assert durable({"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": policy}) == []


def test_a_redis_that_may_forget_is_refused(online: RedisOnline, redis: RedisServer, raw: Redis, name: str) -> None:
    online.put(SET, [online_row("a")], token=1)
    raw.config_set("appendfsync", "everysec")
    try:
        with pytest.raises(StoreError, match="may forget what it was given: appendfsync is everysec") as caught:
            RedisOnline(redis.url, name)
        assert "appendfsync always" in caught.value.mend
        with closing(RedisOnline(redis.url, name, writable=False)) as reader:
            assert reader.get(SET, "a") == online_row("a")
    finally:
        raw.config_set("appendfsync", "always")


def test_a_full_redis_writes_nothing_and_still_answers(online: RedisOnline, raw: Redis) -> None:
    online.put(SET, [online_row("a")], token=1)
    raw.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(StoreFull, match="no memory"):
            online.put(SET, [online_row("a", 2)], token=1)
        assert online.get(SET, "a") == online_row("a")
    finally:
        raw.config_set("maxmemory", "0")
    assert online.put(SET, [online_row("a", 2)], token=1) == 1


def test_a_reader_finds_no_store_before_the_first_writer(redis: RedisServer, name: str) -> None:
    with pytest.raises(NotFound, match="no online store here yet"):
        RedisOnline(redis.url, name, writable=False)
    RedisOnline(redis.url, name).close()
    RedisOnline(redis.url, name, writable=False).close()


def test_a_newer_schema_is_refused(online: RedisOnline, redis: RedisServer, raw: Redis, name: str) -> None:
    raw.set(f"mainstay:{{{name}}}:schema", 2)
    with pytest.raises(StoreTooNew, match="the online store has schema 2"):
        RedisOnline(redis.url, name)


def test_secrets_stay_out_of_messages(redis: RedisServer, name: str) -> None:
    for url in (redis.url.replace(redis.password, "geheim"), "redis://:geheim@127.0.0.1:1/0", "geheim://127.0.0.1"):
        with pytest.raises(StoreError) as caught:
            RedisOnline(url, name)
        assert "geheim" not in str(caught.value).replace("geheim://127.0.0.1", "")


def test_a_damaged_row_is_told(online: RedisOnline, raw: Redis, name: str) -> None:
    raw.hset(f"mainstay:{{{name}}}:set:{SET}", "a", b"1 rubbish")
    with pytest.raises(Corrupt, match="cannot be read"):
        online.get(SET, "a")


def test_what_feeds_a_put_runs_between_its_writes(online: RedisOnline, redis: RedisServer, name: str) -> None:
    """A writer that is overtaken in the middle is stopped at the next few hundred rows."""
    other = RedisOnline(redis.url, name)

    def rows() -> Iterator[OnlineRow]:
        yield from (online_row(f"k{number:05d}") for number in range(CHUNK))
        other.put(SET, [], token=2)
        yield from (online_row(f"k{number:05d}") for number in range(CHUNK, 3 * CHUNK))

    with pytest.raises(Fenced, match="token 1 writes where 2 has written"):
        online.put(SET, rows(), token=1)
    assert list(online.keys(SET)) == [f"k{number:05d}" for number in range(CHUNK)]
    other.close()


def test_wide_rows_are_sent_in_bounded_pieces(online: RedisOnline) -> None:
    wide = b"x" * (CHUNK_BYTES // 3)
    rows = [online_row(str(number), values=wide) for number in range(8)]
    assert online.put(SET, rows, token=1) == 8
    assert online.get_many(SET, [str(number) for number in range(8)]) == {row.key: row for row in rows}


def test_a_large_set_is_pruned_and_listed_in_pages(online: RedisOnline) -> None:
    wanted = [f"k{number:06d}" for number in range(5001)]
    online.put(SET, (online_row(key, 1 + number % 2) for number, key in enumerate(wanted)), token=1)
    assert list(online.keys(SET)) == wanted
    assert online.prune(SET, below=2, token=1) == 2501
    assert list(online.keys(SET)) == wanted[1::2]


def test_scrub_leaves_no_byte_in_redis_files(online: RedisOnline, redis: RedisServer, raw: Redis) -> None:
    def held(secret: bytes) -> bool:
        return any(secret in path.read_bytes() for path in redis.folder.rglob("*") if path.is_file())

    raw.config_set("save", "3600 1")
    try:
        online.put(SET, [online_row("7590-VHVEG"), online_row("stays-here")], token=1)
        raw.bgrewriteaof()
        assert held(b"7590-VHVEG")
        online.remove(SET, ["7590-VHVEG"], plan=1, token=1)
        online.scrub()
        assert not held(b"7590-VHVEG")
        assert held(b"stays-here")
    finally:
        raw.config_set("save", "")
