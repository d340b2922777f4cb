"""The blows, and what both sides say after each."""

from __future__ import annotations

import time

from mainstay.app.demo.ask import Said
from mainstay.app.demo.scene import Scene
from mainstay.testing import toy_crm

FAIL_S = 15
"""What mainstay.yaml promises: from this age on, rows are not to be used."""


def crm_away(scene: Scene) -> None:
    """Answers go on, flagged, then refused; the CRM returns and all is well by itself."""
    world, screen = scene.world, scene.screen
    glue_before, _ = scene.both("before")
    world.server.stop("immediate")
    stopped = time.monotonic()
    world.until(lambda: world.mainstay(scene.watched).body.get("verdict") != "PASS", 30, "Mainstay flags its answers")
    _, flagged = scene.both(f"{time.monotonic() - stopped:.0f} s later")
    screen.expect(flagged.status == 200 and flagged.body.get("degraded"), "past 6 s Mainstay answers and says how old")
    world.until(lambda: world.mainstay(scene.watched).status == 503, 40, "Mainstay refuses")
    glue, refused = scene.both(f"{time.monotonic() - stopped:.0f} s later")
    screen.expect(
        glue.status == 200 and glue.probability == glue_before.probability, "the glue answers as if nothing were"
    )
    screen.expect(refused.status == 503 and refused.receipt, f"past {FAIL_S} s Mainstay refuses, with a receipt")
    world.server.start()
    began = time.monotonic()
    world.until(lambda: scene.fresh(scene.watched), 60, "Mainstay is fresh again")
    scene.both("CRM is back")
    screen.expect(
        kept=True, sentence=f"{time.monotonic() - began:.0f} s after the CRM's return all is fresh, by itself"
    )


def garbage(scene: Scene) -> None:
    """The rejected row's last good one is held; the glue takes the garbage for a loyal customer."""
    world, screen = scene.world, scene.screen
    before, _ = scene.both("before")
    with world.crm() as connection:
        toy_crm.garbage(connection, [scene.watched])
    world.until(lambda: world.mainstay(scene.watched).status == 409, 30, "Mainstay holds the row")
    changed = world.until(lambda: _changed(scene, before), 30, "the glue takes the garbage in")
    _, held = scene.both("tenure: 9999")
    screen.expect(changed.status == 200, f"the glue computes on garbage: {_number(before)} became {_number(changed)}")
    screen.expect(held.body.get("reason") == "on_held", "Mainstay refuses by name of the check and keeps the row")
    scene.show("quarantine", "list")
    with world.crm() as connection:
        toy_crm.mend_garbage(connection)
    world.until(lambda: scene.fresh(scene.watched), 30, "the mended row is published")
    world.until(lambda: scene.agree([scene.watched]), 30, "the glue has copied the mended row")
    scene.both("mended")
    screen.expect(kept=True, sentence="the mended row ended the hold by itself; the rejected one lies in quarantine")


def column_dropped(scene: Scene) -> None:
    """A lost column blocks its dataset; the last good state ages, then is refused."""
    world, screen = scene.world, scene.screen
    before, _ = scene.both("before")
    with world.crm() as connection:
        toy_crm.drop_column(connection)
        connection.execute(
            "UPDATE subscriptions SET updated_at = clock_timestamp() WHERE customer_id = %s",
            (scene.watched,),
        )
        connection.commit()
    changed = world.until(lambda: _changed(scene, before), 30, "the glue reads rows without the column")
    world.until(lambda: world.mainstay(scene.watched).status == 503, 40, "Mainstay refuses")
    _, refused = scene.both("column gone")
    screen.expect(changed.status == 200, f"the glue guesses the price: {_number(before)} became {_number(changed)}")
    screen.expect(refused.status == 503, "Mainstay blocks what lost its column and refuses once it is too old")
    status = scene.show("status", check=False)
    screen.expect("monthly_charges" in status.out, "`mainstay status` names the column")
    with world.crm() as connection:
        toy_crm.restore_column(connection)
    world.until(lambda: scene.fresh(scene.watched), 60, "Mainstay is fresh again")
    world.until(lambda: scene.agree([scene.watched]), 30, "the glue has copied the column")
    scene.both("column is back")
    screen.expect(kept=True, sentence="the column came back, and the answers with it")


def worker_killed(scene: Scene) -> None:
    """Every answer that was given has its receipt, the killed worker's too."""
    world, screen = scene.world, scene.screen
    workers = world.workers()
    mark = scene.traffic.mark()
    world.until(lambda: len(scene.traffic.since(mark).answers) > 50, 30, "requests run")
    workers[-1].kill()
    world.kill9("glue")
    killed = time.monotonic()
    glue, mainstay = scene.both("at once")
    screen.expect(glue.status == 0, "the glue is gone until somebody restarts it")
    screen.expect(mainstay.status == 200, "Mainstay's other worker answers")
    world.start_glue_api()
    world.until(lambda: world.glue(scene.watched).status == 200, 120, "the glue answers again")
    screen.fact(f"the glue was away for {time.monotonic() - killed:.1f} s; what it had answered is written nowhere")
    world.until(lambda: len(world.workers()) >= len(workers), 30, "the killed worker has a successor")
    tally = scene.traffic.since(mark)
    receipts = tally.receipts
    found = sum(scene.receipt(receipt).status == 200 for receipt in receipts)
    screen.expect(
        found == len(receipts) > 0,
        f"{len(tally.answers):,} requests, {len(tally.failed)} lost with the killed worker's connections; "
        f"of {len(receipts):,} answers given {found:,} have their receipt",
    )


def customer_deleted(scene: Scene) -> None:
    """A deleted row is gone here as well, and the API says so."""
    world, screen = scene.world, scene.screen
    key = scene.leaving
    scene.both("before", key)
    with world.crm() as connection:
        rows = toy_crm.delete_customer(connection, key)
    screen.fact(f"{rows} rows of customer {key} are gone from the CRM")
    world.until(lambda: world.mainstay(key).status == 410, 30, "Mainstay sees the deletion")
    glue, gone = scene.both("deleted", key)
    screen.expect(glue.status == 200, "the glue's copy knows nothing of deletions: it answers for ever")
    screen.expect(gone.status == 410, "Mainstay answers 410: deleted")


def _changed(scene: Scene, before: Said) -> Said | None:
    """The glue's answer once it differs from what it was."""
    said = scene.world.glue(scene.watched)
    if said.probability is None or before.probability is None:
        return None
    return said if abs(said.probability - before.probability) > 1e-9 else None


def _number(said: Said) -> str:
    return "nothing" if said.probability is None else f"{said.probability:.2f}"
