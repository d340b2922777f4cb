"""More than one: several use cases under one guard, and several machines for one use case."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

from mainstay.app.demo.ask import Said, ask
from mainstay.app.demo.scene import Scene
from mainstay.testing.ports import free_port
from mainstay.testing.redis_server import RedisServer, redis_binary

TICKET = 1

INSTALLATION = """\
sources:
  crm:
    kind: postgres
    url: ${CRM_URL}
    guard: {connections: 1, statement_timeout: 5s}
"""
OWN_SOURCE = INSTALLATION.replace("connections: 1", "connections: 2")
MEMBER = """\
integration: NAME
datasets:
  tickets:
    source: crm
    table: tickets
    key: ticket_id
    cursor: {column: updated_at, lag: 2s}
    deletes: {column: deleted_at}
    every: 1s
    freshness: {warn: 1m, fail: 5m}
    columns:
      ticket_id:  {type: integer, required: true}
      severity:   {type: integer}
      updated_at: {type: timestamp}
      deleted_at: {type: timestamp}
features:
  ticket: {key: ticket_id, sql: "SELECT ticket_id, severity FROM tickets"}
model:
  name: NAME
  input: ticket
  rule: {score: "severity * FACTOR"}
settings: {port: PORT, workers: 1}
"""
STORES = """\
stores:
  state: {kind: postgres, url: "${STATE_URL}"}
  online: {kind: redis, url: "${ONLINE_URL}"}
  folder: FOLDER
"""


def member(name: str, factor: int, port: int) -> str:
    """A use case on the CRM's tickets: a rule answers."""
    return MEMBER.replace("NAME", name).replace("FACTOR", str(factor)).replace("PORT", str(port))


def one_guard(scene: Scene) -> None:
    """Two use cases and a broken third over one source: one guard, one command, and no harm done to each other."""
    world, screen = scene.world, scene.screen
    house = world.folder / "house"
    ports = {"escalation": free_port(), "workload": free_port()}
    _write(house / "installation.yaml", INSTALLATION)
    for factor, (name, port) in enumerate(ports.items(), 1):
        _write(house / "integrations" / name / "mainstay.yaml", member(name, factor, port))
    _write(house / "integrations" / "upsell" / "mainstay.yaml", "integration: upsell\nmodle: {name: upsell}\n")
    ran = scene.show("apply", "--yes", folder=house, check=False, lines=24)
    wrong = [line.strip() for line in ran.err.splitlines() if "modle" in line]
    screen.fact(wrong[0] if wrong else "nothing was said of the file that is wrong")
    screen.expect(wrong, "one of three files is wrong: it is said what and where, and the others go on")
    keys = {name: _api_key(scene, house, f"integrations/{name}") for name in ports}
    world.start("house", "up", folder=house)
    said: dict[str, Said] = {}
    for name, port in ports.items():
        said[name] = world.until(lambda: _answer(port, name, keys[name]), 90, f"{name} answers")  # noqa: B023 - called at once
    screen.expect(
        len(said) == len(ports), f"`mainstay up`: {' and '.join(ports)} answer, each on its own port with its own keys"
    )
    stranger = ask(_url(ports["workload"], "workload"), {"key": TICKET}, headers=_bearer(keys["escalation"])).status
    screen.expect(stranger == 401, "an API key of one opens no other")
    most = max(_connections(scene) for _ in range(30))
    screen.expect(
        0 < most <= 3,
        f"at most {most} connections to the CRM at any time: 2 are this story's, 1 is allowed to all of them",
    )
    world.stop("house")


def two_machines(scene: Scene) -> None:
    """Two machines serve one use case over PostgreSQL and Redis; the one that runs the loop is killed."""
    screen = scene.screen
    if redis_binary() is None or importlib.util.find_spec("redis") is None:
        screen.fact(
            "not shown here: it needs redis-server and its client (apt-get install redis-server; pip install redis)"
        )
        return
    with RedisServer() as redis:
        state = scene.world.server.create_database("state")
        scene.world.env.update(STATE_URL=scene.world.server.url(state.name), ONLINE_URL=redis.url)
        _machines(scene, scene.world.folder / "shared")


def _machines(scene: Scene, folder: Path) -> None:
    world, screen, name = scene.world, scene.screen, "escalation"
    homes = {machine: str(world.folder / machine) for machine in ("a", "b")}
    ports = {machine: free_port() for machine in homes}
    text = OWN_SOURCE + member(name, 1, ports["a"]) + STORES.replace("FOLDER", str(world.folder / "disk"))
    _write(folder / "mainstay.yaml", text)
    scene.show("apply", "--yes", "--home", homes["a"], folder=folder)
    key = _api_key(scene, folder, "mainstay.yaml", "--home", homes["a"])
    for machine, port in ports.items():
        world.start(machine, "up", "--home", homes[machine], "--port", str(port), folder=folder)
        world.until(lambda: _answer(port, name, key), 90, f"machine {machine} answers")  # noqa: B023 - called at once
    screen.fact("machines a and b both answer; a began first, so it has the lease and reads the CRM")
    before = world.until(lambda: _answer(ports["a"], name, key), 30, "a answers")
    world.kill9_all("a")
    world.alive = False  # nobody else changes the ticket that is looked at
    _change(scene)
    began, answers = time.monotonic(), [before]
    while answers[-1].body.get("output") == before.body["output"] and time.monotonic() - began < 90:
        answers.append(ask(_url(ports["b"], name), {"key": TICKET}, headers=_bearer(key)))
        time.sleep(0.05)
    world.alive = True
    seconds, failed = time.monotonic() - began, sum(one.status != 200 for one in answers)
    screen.expect(
        not failed and answers[-1].body.get("output") != before.body["output"],
        f"a is killed with -9, all of it; b publishes the CRM's next change {seconds:.0f} s later (the lease: 15 s)",
    )
    screen.expect(not failed, f"meanwhile b answered {len(answers):,} requests, {failed} failed")
    ran = scene.show("receipt", "verify", before.receipt, "--home", homes["b"], folder=folder, check=False)
    screen.expect(ran.code == 0, "an answer that a gave before it died verifies on b")
    world.stop("b")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _api_key(scene: Scene, folder: Path, file: str, *more: str) -> str:
    made: Any = scene.world.cli(
        "key", "create", "demo", "--role", "predict", "--file", file, *more, "--json", folder=folder
    ).json
    return str(made["key"])


def _url(port: int, name: str) -> str:
    return f"http://127.0.0.1:{port}/v1/{name}/predict"


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _answer(port: int, name: str, key: str) -> Said | None:
    """The answer for the ticket if it is one, else None."""
    said = ask(_url(port, name), {"key": TICKET}, headers=_bearer(key))
    return said if said.status == 200 else None


def _connections(scene: Scene) -> int:
    """How many connections the role that may only read has in the CRM right now."""
    time.sleep(0.1)
    with scene.world.crm() as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'").fetchone()
        return int(row[0]) if row else 0


def _change(scene: Scene) -> None:
    with scene.world.crm() as connection:
        connection.execute(
            "UPDATE tickets SET severity = 5 - severity, updated_at = now() WHERE ticket_id = %s", (TICKET,)
        )
