"""Online on Redis: the newest feature row per key where the API's workers on several machines read it.

One hash per feature set: field = key, value = the plan's number in digits, a space, the row as MessagePack. What is
conditional (on the plan, on the lease's token) is decided by a script within Redis, a few hundred rows at a time, so
that nobody else waits long. Every key of an integration carries its name in braces: one slot of a cluster.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from mainstay.core.errors import Corrupt, NotFound, StoreAway, StoreBusy, StoreError, StoreFull
from mainstay.core.ports import OnlineRow, PackedRow
from mainstay.store.schema_number import compare
from mainstay.store.sqlite_file import fenced

if TYPE_CHECKING:
    import redis

SCHEMA = 1

CHUNK = 500
"""Rows of one script: a millisecond or two of Redis' one thread."""
CHUNK_BYTES = 4 << 20
READ_TIMEOUT_S, WRITE_TIMEOUT_S = 1.0, 20.0
"""How long Redis may take to answer: a writer waits for its disk, a reader's caller waits for an answer."""
PROBE_S = 0.25
"""How often a Redis that hangs is asked anew, by nobody's caller."""
SCRUB_S = 30.0

_FENCE = """
local highest = tonumber(redis.call('GET', KEYS[1]) or '0')
local token = tonumber(ARGV[1])
if token < highest then return {-1, highest} end
if token > highest then redis.call('SET', KEYS[1], ARGV[1]) end
local function plan_of(value) return tonumber(string.match(value, '^%d+')) end
"""
# An equal plan is a redo after a crash and writes again.
_PUT = f"""{_FENCE}
local written = 0
for at = 2, #ARGV, 2 do
  local standing = redis.call('HGET', KEYS[2], ARGV[at])
  if not standing or plan_of(standing) <= plan_of(ARGV[at + 1]) then
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
    written = written + 1
  end
end
return {{written, highest}}
"""
_REMOVE = f"""{_FENCE}
local removed, most = 0, tonumber(ARGV[2])
for at = 3, #ARGV do
  local standing = redis.call('HGET', KEYS[2], ARGV[at])
  if standing and plan_of(standing) <= most then removed = removed + redis.call('HDEL', KEYS[2], ARGV[at]) end
end
return {{removed, highest}}
"""
_PRUNE = f"""{_FENCE}
local removed, below = 0, tonumber(ARGV[2])
local page = redis.call('HSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
for at = 1, #page[2], 2 do
  if plan_of(page[2][at + 1]) < below then removed = removed + redis.call('HDEL', KEYS[2], page[2][at]) end
end
return {{removed, highest, page[1]}}
"""
_DROP = f"""{_FENCE}
return {{redis.call('UNLINK', KEYS[2]), highest}}
"""
_KEYS = """
local page, found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2]), {}
for at = 1, #page[2], 2 do found[#found + 1] = page[2][at] end
return {page[1], found}
"""

_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.Decoder(OnlineRow).decode


class RedisOnline:
    """The `Online` of `core.ports` in a Redis (6.2 or later). Thread-safe; any number of processes and machines.

    Args:
        url: `redis://user:password@host:6379/0`, `rediss://...` for TLS.
        integration: Whose rows these are: integrations may share a Redis.
        writable: False for the API's workers: NotFound is raised where no writer has been.

    A writer refuses a Redis that may forget: see `durable`.
    """

    def __init__(self, url: str, integration: str, *, writable: bool = True) -> None:
        self.integration = integration
        self._where = _where(url)
        self._client: Any = _client(url, self._where, WRITE_TIMEOUT_S if writable else READ_TIMEOUT_S)
        self._own = f"mainstay:{{{integration}}}"
        self._fence = f"{self._own}:fence"
        self._sha: dict[str, str] = {}
        self._probes = None if writable else _Probes(self._client)
        try:
            if writable:
                self._need_durable()
                self._call("SET", f"{self._own}:schema", SCHEMA, "NX")
            self._compare()
        except BaseException:
            self.close()
            raise

    def get(self, feature_set: str, key: str) -> OnlineRow | None:
        value = self._call("HGET", self._set(feature_set), key.encode())
        return None if value is None else self._row(value)

    def get_many(self, feature_set: str, keys: Sequence[str]) -> dict[str, OnlineRow]:
        found: dict[str, OnlineRow] = {}
        for first in range(0, len(keys), CHUNK):
            part = keys[first : first + CHUNK]
            values = self._call("HMGET", self._set(feature_set), *(key.encode() for key in part))
            found.update((key, self._row(value)) for key, value in zip(part, values, strict=True) if value is not None)
        return found

    def changed(self) -> None:
        """A server would have to be asked, which is a look-up already."""

    def count(self, feature_set: str) -> int:
        number: int = self._call("HLEN", self._set(feature_set))
        return number

    def keys(self, feature_set: str) -> Iterator[str]:
        """Keys in order, read in pages: the whole may see some of a later write."""
        found: set[bytes] = set()
        at: bytes | None = None
        while at != b"0":
            at, page = self._script(_KEYS, [self._set(feature_set)], at or b"0", CHUNK)
            found.update(page)  # a page may repeat what an earlier one had
        return (key.decode() for key in sorted(found))

    def put(self, feature_set: str, rows: Iterable[OnlineRow], *, token: int) -> int:
        return self.put_packed(feature_set, ((row.key, row.plan, _pack(row)) for row in rows), token=token)

    def put_packed(self, feature_set: str, rows: Iterable[PackedRow], *, token: int) -> int:
        written = 0
        for chunk in _chunks(rows):
            written += self._fenced(_PUT, feature_set, token, *chunk)[0]
        return written

    def remove(self, feature_set: str, keys: Iterable[str], *, plan: int, token: int) -> int:
        removed: int = 0
        waiting = iter(keys)
        while True:
            chunk = [key.encode() for key in islice(waiting, CHUNK)]
            removed += self._fenced(_REMOVE, feature_set, token, plan, *chunk)[0]
            if len(chunk) < CHUNK:
                return removed

    def prune(self, feature_set: str, *, below: int, token: int) -> int:
        removed, at = 0, None
        while at != b"0":
            gone, _, at = self._fenced(_PRUNE, feature_set, token, below, at or b"0", CHUNK)
            removed += gone
        return removed

    def drop(self, feature_set: str, *, token: int) -> None:
        """Forgets the set at once; Redis frees its memory by itself."""
        self._fenced(_DROP, feature_set, token)

    def scrub(self) -> None:
        """Has Redis write its files anew, so that nothing removed or replaced is left in them (erasure).

        Raises StoreBusy when that took too long.
        """
        deadline = time.monotonic() + SCRUB_S
        for command, running in (("BGREWRITEAOF", "aof_rewrite_in_progress"), ("BGSAVE", "rdb_bgsave_in_progress")):
            if command == "BGSAVE" and not _text(self._call("CONFIG", "GET", "save")[1]):
                continue  # It keeps no snapshots.
            self._await_end("aof_rewrite_in_progress", "rdb_bgsave_in_progress", deadline=deadline)
            self._call(command)
            self._await_end(running, "aof_rewrite_scheduled", deadline=deadline)

    def close(self) -> None:
        if self._probes is not None:
            self._probes.close()
        self._client.close()

    def _compare(self) -> None:
        found = self._call("GET", f"{self._own}:schema")
        if found is None:
            raise NotFound("there is no online store here yet", mend="run `mainstay up`", where=self._where)
        compare(int(found), SCHEMA, store="the online store", where=self._where)

    def _set(self, feature_set: str) -> str:
        return f"{self._own}:set:{feature_set}"

    def _row(self, value: bytes) -> OnlineRow:
        _, _, data = value.partition(b" ")
        try:
            return _unpack(data)
        except msgspec.DecodeError as error:
            raise Corrupt(f"a row cannot be read: {error}", where=self._where) from error

    def _fenced(self, script: str, feature_set: str, token: int, *arguments: Any) -> Any:
        answer = self._script(script, [self._fence, self._set(feature_set)], token, *arguments)
        if answer[0] < 0:
            raise fenced(token, answer[1], self._where)
        return answer

    def _script(self, script: str, keys: list[str], *arguments: Any) -> Any:
        from redis.exceptions import NoScriptError

        sha = self._sha.get(script)
        if sha is None:
            sha = self._sha[script] = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return self._call("EVALSHA", sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return self._call("EVAL", script, len(keys), *keys, *arguments)

    def _call(self, *command: Any) -> Any:
        from redis.exceptions import NoScriptError, RedisError

        if self._probes is not None and self._probes.hangs:
            raise StoreAway("Redis did not answer a moment ago", mend="is it running?", where=self._where)
        try:
            return self._client.execute_command(*command)
        except NoScriptError:
            raise
        except RedisError as error:
            if self._probes is not None and _timed_out(error):
                self._probes.begin()
            raise _told(error, self._where) from error

    def _need_durable(self) -> None:
        """Refuses a Redis that could lose a row that it has acknowledged: nothing redoes what is published."""
        asked = {}
        for name in ("appendonly", "appendfsync", "maxmemory-policy"):
            found = self._call("CONFIG", "GET", name)
            asked[name] = _text(found[1]) if found else ""
        faults = durable(asked)
        if faults:
            raise StoreError(
                f"this Redis may forget what it was given: {' and '.join(faults)}",
                mend="set `appendonly yes`, `appendfsync always` and `maxmemory-policy noeviction` in redis.conf",
                where=self._where,
            )

    def _await_end(self, *flags: str, deadline: float) -> None:
        while any(self._persistence().get(flag, "0") != "0" for flag in flags):
            if time.monotonic() > deadline:
                raise StoreBusy(f"Redis did not finish its files within {SCRUB_S:.0f} s", where=self._where)
            time.sleep(0.02)

    def _persistence(self) -> dict[str, str]:
        lines = self._call("INFO", "persistence").decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


class _Probes:
    """Asks a Redis that hung until it answers, so that one caller waits for it and not each."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self.hangs = False

    def begin(self) -> None:
        with self._lock:
            if not self.hangs:
                self.hangs = True
                threading.Thread(target=self._ask, daemon=True, name="mainstay-redis").start()

    def close(self) -> None:
        self._closed.set()

    def _ask(self) -> None:
        from redis.exceptions import RedisError

        while not self._closed.wait(PROBE_S):
            try:
                self._client.execute_command("PING")
            except RedisError as error:
                if _timed_out(error):
                    continue  # else it is away or refuses us, and says so at once: callers may hear it themselves
            break
        self.hangs = False


def _timed_out(error: redis.RedisError) -> bool:
    from redis import exceptions

    return isinstance(error, exceptions.TimeoutError)


def durable(settings: dict[str, str]) -> list[str]:
    """What of Redis' settings lets it lose a row that it has acknowledged; empty when nothing does."""
    faults = []
    if settings.get("appendonly") != "yes":
        faults.append(f"appendonly is {settings.get('appendonly') or 'unknown'}")
    elif settings.get("appendfsync") != "always":
        faults.append(f"appendfsync is {settings.get('appendfsync') or 'unknown'}")
    if settings.get("maxmemory-policy", "").startswith("allkeys"):
        faults.append(f"maxmemory-policy is {settings['maxmemory-policy']}")
    return faults


def _client(url: str, where: str, timeout_s: float) -> redis.Redis:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        mend = "pip install 'mainstay[redis]'"
        raise StoreError(f"the Redis client cannot be loaded: {error}", mend=mend) from error
    try:
        client: redis.Redis = redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=READ_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            client_name="mainstay",
        )
    except ValueError:  # its text quotes the url, password and all
        mend = "write it as redis://user:password@host:6379/0"
        raise StoreError("the url of the online store cannot be read", mend=mend, where=where) from None
    # Replies as Redis sends them: their shape is the protocol's, not that of one version of the library.
    client.response_callbacks.clear()
    return client


def _where(url: str) -> str:
    """The store's address without the password."""
    try:
        parts = urlsplit(url)
        address = f"{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path}"
    except ValueError:
        return "online in Redis"
    return f"online in {parts.scheme or 'redis'}://{address}"


def _chunks(rows: Iterable[PackedRow]) -> Iterator[list[bytes]]:
    """Field, value, field, value... of a few hundred rows or a few megabytes; at least one, which may be empty."""
    chunk: list[bytes] = []
    size, none_yet = 0, True
    for key, plan, packed in rows:
        chunk += (key.encode(), b"%d %b" % (plan, packed))
        size += len(packed)
        if len(chunk) >= 2 * CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size, none_yet = [], 0, False
    if chunk or none_yet:  # Also when there are no rows: a caller learns that it is fenced.
        yield chunk


def _told(error: redis.RedisError, where: str) -> StoreError:
    """Redis' error as ours."""
    from redis import exceptions

    said = " ".join(str(error).split())
    if isinstance(error, exceptions.AuthenticationError):
        mend = "are user and password of the online store right?"
        return StoreAway("Redis did not let us in", mend=mend, where=where)
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError):
        return StoreAway(f"Redis did not answer: {said}", mend="is it running?", where=where)
    if isinstance(error, exceptions.OutOfMemoryError):
        return StoreFull(f"no memory to write: {said}", mend="raise `maxmemory` of this Redis", where=where)
    if isinstance(error, exceptions.ReadOnlyError) or said.startswith("MISCONF"):
        return StoreFull(f"not allowed to write: {said}", mend="see to this Redis", where=where)
    if isinstance(error, exceptions.NoPermissionError):
        return StoreError(f"Redis refused: {said}", mend="allow this user the command", where=where)
    return StoreError(f"Redis refused: {said}", where=where)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
