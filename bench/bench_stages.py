# ruff: noqa: SLF001 - each stage is measured by the very part that does it
"""What each stage of a prediction costs: auth, validation, lookup, judging, model, receipt, metrics, reply.

    python bench/bench_stages.py [--rounds 5] [--small]

In one process, by the very objects of a worker, without a socket: 16 requests by key at a time, as a turn of the event
loop brings them, among 100,000 keys and varied. Microseconds of processor time for a request, the least of the rounds.
What HTTP itself costs is the difference to `api`'s figure for the same model.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api import own, world

from mainstay.app.worker import open_worker
from mainstay.core.clock import SystemClock
from mainstay.http import auth, problems
from mainstay.http.heads import Said
from mainstay.http.naming import Naming
from mainstay.http.turns import Turns
from mainstay.serving import keys
from mainstay.serving.request import read_predict
from mainstay.serving.work import Call
from mainstay.serving.works import of_key

TURN = 16


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--small", action="store_true", help="one round of 320 requests: whether it runs")
    given = options.parse_args()
    count = 320 if given.small else 16_000
    with tempfile.TemporaryDirectory(prefix="bench-stages-") as name:
        folder = Path(name)
        made = world.make(folder)
        home, token = own.prepared(folder, "stages", "model.txt", "--output", "p=predict_proba[1]:probability")
        bodies = [json.dumps({"key": made.keys[place % len(made.keys)]}).encode() for place in range(count)]
        worker = open_worker(home / ".mainstay", "churn", slot="bench", clock=SystemClock(), env=os.environ)
        try:
            rounds = [measured(worker.desk, token.encode(), bodies) for _ in range(1 if given.small else given.rounds)]
        finally:
            worker.close()
    whole = min(one["whole"] for one in rounds)
    print(f"LightGBM of 200 trees on 30 numbers, by key, {TURN} requests at a time: us of processor time for a request")
    for stage in rounds[0]:
        least = min(one[stage] for one in rounds)
        print(f"  {stage:<44}{least:>7.2f}   {least / whole:>5.0%}")


def measured(desk: Any, token: bytes, bodies: list[bytes]) -> dict[str, float]:
    snap, answering = desk.view.now, desk.answering
    headers = [(b"host", b"127.0.0.1:8700"), (b"content-type", b"application/json"),
               (b"authorization", b"Bearer " + token), (b"content-length", b"17")]  # fmt: skip
    naming = Naming()
    count = len(bodies)
    found: dict[str, float] = {}

    def timed(stage: str, act: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = act()
        found[stage] = (time.process_time() - began) / count * 1e6
        return result

    def admitted() -> None:
        for _ in bodies:
            caller = desk.callers.at_once(auth.token(headers, ""), None)
            assert keys.allows(caller, "predict")
            desk.take(caller)

    caller = desk.callers.at_once(token, None)
    timed("auth: API key, role, rate", admitted)
    asked = timed("validation of the body", lambda: [read_predict(body) for body in bodies])
    named = timed("request id, trace", lambda: [naming.read(headers) for _ in bodies])
    calls = [Call(caller.id, one.request, desk.clock.monotonic_us(), one.trace) for one in named]
    digest = snap.feature_set.digest

    turns_of = [asked[start : start + TURN] for start in range(0, count, TURN)]

    def fetched() -> list[Any]:
        begun = ([of_key(snap, snap.plan, one.key, None) for one in part] for part in turns_of)
        return [work for part in begun for work in answering._prepared(snap, snap.plan, part)]

    timed(
        "lookup of the rows by key",
        lambda: [desk.online.get_many(digest, [one.key for one in part]) for part in turns_of],
    )
    works = fetched()
    timed("lookup, freshness, inputs checked", fetched)
    timed("the model", lambda: [snap.model.predict((work.inputs,)) for work in works])
    answering._run(snap, snap.model, works)
    timed("judged again as it is answered", lambda: [answering._settle(snap, work) for work in works])
    pairs = list(zip(works, calls, strict=True))
    parts = [pairs[start : start + TURN] for start in range(0, count, TURN)]
    written = timed("receipt: made, chained, written", lambda: [answering._record_each(snap, part) for part in parts])
    done = list(zip(works, (one for part in written for one in part), strict=True))
    replies = timed("reply, metrics of judging", lambda: [answering._reply(snap, *one) for one in done])
    turns = Turns(desk, naming, problems.told("overloaded", 503, "busy"))
    given = list(zip(asked, replies, calls, strict=True))
    timed("encoding, metrics of requests", lambda: [turns._told(*one) for one in given])
    found["whole"] = whole(turns, headers, bodies)
    return found


def whole(turns: Turns, headers: list[tuple[bytes, bytes]], bodies: list[bytes]) -> float:
    """The road from headers and body to the answer's bytes, as the protocol takes it."""
    import asyncio

    answers: list[int] = []
    said = Said.by(headers)

    async def all_of_them() -> float:
        began = time.process_time()
        for start in range(0, len(bodies), TURN):
            for body in bodies[start : start + TURN]:
                if not turns.take(said, body, lambda status, _head, _body: answers.append(status)):
                    raise SystemExit("a request was not taken by the short road")
            await asyncio.sleep(0)
        return (time.process_time() - began) / len(bodies) * 1e6

    took = asyncio.run(all_of_them())
    if answers != [200] * len(bodies):
        raise SystemExit(f"not all were answered: {sorted(set(answers))}")
    return took


if __name__ == "__main__":
    main()
