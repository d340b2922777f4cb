"""Stores that hang: whoever asks gets an answer or a refusal, and the worker goes on."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from mainstay.app.stores import open_state
from mainstay.core.clock import SystemClock
from mainstay.serving.keys import create_key
from mainstay.testing.postgres import Database
from mainstay.testing.redis_server import RedisServer
from tests.app.machines import Machine, Shared, answers, poll, sharing

JOURNAL = '  journal: {kind: postgres, url: "${STATE_URL}"}\n'


@pytest.fixture
def shared(
    tmp_path: Path, postgres_db: Database, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shared]:
    with sharing(tmp_path, postgres_db, redis, monkeypatch, more=JOURNAL) as world:
        yield world


def _up(shared: Shared) -> tuple[Machine, str]:
    """One machine that answers, and an API key for it."""
    machine = shared.machines[0]
    machine.up()
    poll(lambda: shared.dataset().rows == 6, "the first rows are published")
    with closing(open_state(machine.place.home)) as state:
        token, _ = create_key(state, "test", "operate", clock=SystemClock(), expires_us=None)
    poll(lambda: answers(machine, token, "person-0003", 0.3), "it answers")
    return machine, token


def _asked(machine: Machine, token: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and document of a reply; that one comes at all is what the tests are about."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{machine.port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            data = reply.read()
            return reply.status, json.loads(data) if data.startswith(b"{") else data
    except HTTPError as error:
        return error.code, json.loads(error.read())


def _predicted(machine: Machine, token: str) -> tuple[int, Any]:
    return _asked(machine, token, "/v1/churn/predict", {"key": "person-0003"})


def test_a_frozen_postgres_lets_nobody_wait(shared: Shared, postgres_db: Database) -> None:
    machine, token = _up(shared)
    status, given = _predicted(machine, token)
    assert status == 200
    postgres_db.server.freeze()
    try:
        poll(lambda: _predicted(machine, token)[0] == 503, "what may have changed is not answered from")
        status, refused = _predicted(machine, token)
        assert status == 503
        assert "state could not be read" in refused["detail"]
        assert _asked(machine, token, "/health/live")[0] == 200
        status, ready = _asked(machine, token, "/health/ready")
        assert (status, ready["ready"]) == (503, False)
        assert _asked(machine, token, "/metrics")[0] == 200
        for number in range(10):
            said = {"receipt": given["receipt"], "decision": "accepted", "id": f"n{number}"}
            assert _asked(machine, token, "/v1/churn/decisions", said)[0] == 201
        assert _asked(machine, token, f"/v1/receipts/{refused['receipt']}")[0] == 200, "it is still on this machine"
    finally:
        postgres_db.server.thaw()
    poll(lambda: answers(machine, token, "person-0003", 0.3), "it answers again")


def test_a_frozen_redis_lets_nobody_wait(shared: Shared, redis: RedisServer) -> None:
    machine, token = _up(shared)
    redis.freeze()
    try:
        for _ in range(40):
            status, refused = _predicted(machine, token)
            assert (status, refused["reason"]) == (503, "on_stale")
        assert _asked(machine, token, "/health/live")[0] == 200
        assert _asked(machine, token, "/health/ready")[0] == 503
    finally:
        redis.thaw()
    poll(lambda: answers(machine, token, "person-0003", 0.3), "it answers again")
