"""The story, step by step. Every claim in it is checked against what was seen, and decides over the exit code."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mainstay.app.demo import blows, many, years
from mainstay.app.demo.account import USER, Seen
from mainstay.app.demo.ask import Said, ask
from mainstay.app.demo.menu import menu
from mainstay.app.demo.scene import Scene, pick
from mainstay.app.demo.screen import Screen
from mainstay.app.demo.world import World
from mainstay.core.errors import MainstayError

REASON = "renewed by phone"


@dataclass(frozen=True)
class Step:
    """One step: its title, what is done (told before it happens), and the doing."""

    title: str
    does: str
    act: Callable[[Scene], None]


def set_the_scene(scene: Scene) -> None:
    """A legacy CRM comes to life."""
    scene.world.write_integration()
    scene.world.start_crm()
    with scene.world.crm() as connection:
        counts = {}
        for table in ("customers", "subscriptions", "tickets"):
            row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            counts[table] = row[0] if row else 0
    scene.screen.fact(", ".join(f"{count:,} {table}" for table, count in counts.items()) + " in a real PostgreSQL")
    scene.screen.fact("blanks, N/A, -1 and 9999-12-31 for nothing, three date formats, duplicates, orphans")


def first_answer(scene: Scene) -> None:
    """A constant answers by key over HTTP on live rows, before anyone trained anything."""
    world, screen = scene.world, scene.screen
    began = time.monotonic()
    scene.show("apply", "--yes")
    made = world.cli("key", "create", "demo", "--role", "operate", "--json").json
    world.api_key = made["key"]
    screen.command("mainstay key create demo --role operate", "(shown once, kept as its hash)")
    screen.command("mainstay up")
    world.start_up()
    said = world.until(lambda: scene.good("C-00000"), 60, "the first answer")
    seconds = time.monotonic() - began
    screen.command(f'curl {world.url}/v1/churn/predict -d \'{{"key": "C-00000"}}\'', json.dumps(said.body, indent=2))
    screen.expect(seconds < 60, f"the first answer by key came {seconds:.0f} s after `mainstay apply`")
    screen.expect(said.receipt, "it has a receipt, an age and a verdict")
    world.live()
    screen.fact("the CRM is alive from here on: rows change twice a second, and now and then a dirty one arrives")


def train_and_switch(scene: Scene) -> None:
    """A data scientist's pipeline, imported with proof, takes the constant's place while requests run."""
    world, screen = scene.world, scene.screen
    mark = scene.traffic.mark()
    lab = scene.train()
    screen.command("python train.py", f"{lab['rows']:,} customers, {lab['left']:.0%} left, AUC {lab['auc']}")
    added = scene.show(
        "model", "add", str(world.model), "--example", str(world.example), "--python", scene.python,
        "--output", "churn_probability=predict_proba[Yes]:probability",
        timeout_s=300,
    )  # fmt: skip
    number = scene.newest_version()
    screen.expect(added.code == 0 and number, f"the model is version {number}; the constant still answers")
    scene.show("model", "use", str(number))
    world.until(lambda: number in scene.traffic.since(mark).versions, 30, "the new version answers")
    tally = scene.traffic.since(mark)
    screen.expect(
        not tally.failed, f"{len(tally.answers):,} requests ran during import and switch, {len(tally.failed)} failed"
    )


def same_as_the_lab(scene: Scene) -> None:
    """The glue runs the lab's own code on the raw rows; while all is well both must say the same."""
    world, screen = scene.world, scene.screen
    world.start_glue()
    world.alive = False  # the comparison needs rows that stand still
    keys = [key for key in scene.keys if key not in scene.dirty_keys()][:100]
    world.until(lambda: scene.agree(keys[:5]), 30, "both have seen the last change")
    pairs = [(world.glue(key).probability, world.mainstay(key).probability) for key in keys]
    differences = [abs(glue - ours) for glue, ours in pairs if glue is not None and ours is not None]
    largest = max(differences, default=1.0)
    screen.expect(len(differences) == len(keys), f"both answered for {len(differences)} of {len(keys)} customers")
    screen.expect(largest < 1e-6, f"lab and live are equal: the largest difference is {largest:.1e}")
    scene.watched = pick(scene, keys)
    world.spare |= {scene.watched, scene.leaving}
    screen.pair(f"customer {scene.watched}", world.glue(scene.watched), world.mainstay(scene.watched))
    world.alive = True


def card_on_the_page(scene: Scene) -> None:
    """What a browser does with the page, over HTTP: its script, the answer in words, a decision on it."""
    world, screen = scene.world, scene.screen
    world.until(lambda: scene.fresh(scene.watched), 60, "a fresh answer")
    page = scene.page
    screen.command("mainstay key create crm --role predict", "(it stays on the CRM's server)")
    seen = world.until(lambda: Seen.at(f"{page.url}/accounts/{scene.watched}"), 30, "the card on the CRM's page")
    screen.fact(f"{page.url}/accounts/{scene.watched}: the card stands beside the customer's record")
    screen.expect(
        seen.scripts == 1 and seen.pinned() and "'unsafe" not in seen.policy,
        "the page has one script tag more, pinned by its digest, and a policy that lets nothing else run",
    )
    answer = world.until(lambda: _shown(seen, page.url), 30, "an answer on the card")
    words = ", ".join(str(answer.body[name]) for name in ("label", "value", "words") if answer.body.get(name))
    screen.expect(
        answer.status == 200 and answer.receipt,
        f"the card says in words: {words}, data {answer.body.get('age_seconds', -1):.1f} s old",
    )
    decision = {"receipt": answer.receipt, "decision": "overridden", "reason": REASON}
    taken = seen.ask("card/decisions", decision, origin=page.url)
    scene.decided = answer.receipt
    came = "" if taken.status == 201 else f": HTTP {taken.status}, {taken.sentence}"
    screen.expect(taken.status == 201, f"{USER} overrides it there, with a reason{came}")
    elsewhere = seen.ask("card", {}, origin="https://elsewhere.example").status
    other = ask(f"{world.url}/v1/churn/predict", {"key": "C-00000"}, headers=seen.headers).status
    screen.expect((elsewhere, other) == (403, 401), "its token opens the card on no other page, and no other route")


def _shown(seen: Seen, origin: str) -> Said | None:
    """What the card shows, once it is an answer: on a busy machine data may be older than its seconds for a moment."""
    said = seen.ask("card", {}, origin=origin)
    return said if said.status == 200 else None


def why(scene: Scene) -> None:
    """One answer, from the source row to the receipt."""
    ran = scene.show("why", scene.decided, lines=120)
    scene.screen.expect(
        ran.code == 0 and "customers" in ran.out, "`mainstay why` leads from the answer back to the source rows"
    )
    scene.screen.expect(
        all(word in ran.out for word in ("overridden", USER, REASON)),
        f"and forward to what {USER} decided on the CRM's page: it is joined to the receipt",
    )
    ran = scene.show("receipt", "verify", scene.decided)
    scene.screen.expect(ran.code == 0, "the receipt verifies: same version, same inputs, same output")


STEPS = (
    Step("A legacy CRM", "A fifteen-year-old system with everything that fifteen years leave behind.", set_the_scene),
    Step("The first answer", "Nobody has trained anything yet; a constant answers on live rows.", first_answer),
    Step("A trained model takes its place", "Requests run all the while.", train_and_switch),
    Step("Beside it, the glue of today", "A cron copy and 40 lines of FastAPI: same CRM, same model.", same_as_the_lab),
    Step(
        "Blow: the CRM goes away", "The database stops. Promised: warn from 6 s on, fail from 15 s on.", blows.crm_away
    ),
    Step("Blow: garbage arrives", "An upstream job writes 9999 months into customers' rows.", blows.garbage),
    Step(
        "Blow: a column is dropped",
        "A migration that nobody announced; then somebody opens a record and saves it.",
        blows.column_dropped,
    ),
    Step("Blow: a worker is killed with -9", "One of Mainstay's two, and the glue's only one.", blows.worker_killed),
    Step("Blow: a customer is deleted", "They asked to leave, and the CRM's row is gone.", blows.customer_deleted),
    Step("On the CRM's account page", "People decide where they already work, not at an API.", card_on_the_page),
    Step("Why this answer?", "A question that comes months later.", why),
    Step("A page for the morning", "What `status` says, in the browser: read only, live.", years.status_page),
    Step("A backup that was tried", "Made while everything runs, and restored beside it.", years.backup),
    Step("A second use case", "The same CRM, another question.", years.second_use_case),
    Step("Several use cases, one guard", "One command runs them; the old system sees one guard.", many.one_guard),
    Step("Several machines, one use case", "The one that runs the loop is killed.", many.two_machines),
)


def run(*, once: bool, keep: bool, console: Console) -> int:
    """Tells the story. Returns 0 when every claim came true, else 1.

    Args:
        once: Ask nothing, and end after the last step; otherwise wait between steps and end with a menu.
        keep: Leave the integration, its state and the logs where they are, and say where.
        console: Where the story is printed.
    """
    folder = Path(tempfile.mkdtemp(prefix="mainstay-demo-", dir="/tmp"))  # sockets need short paths
    screen = Screen(console, patient=not once)
    try:
        with World(folder) as world:
            scene = Scene(world, screen)
            try:
                for number, step in enumerate(STEPS, 1):
                    screen.title(number, step.title, step.does)
                    step.act(scene)
                    screen.pause()
                screen.close()
                if not once:
                    menu(scene)
            finally:
                scene.end()
    except KeyboardInterrupt:
        console.print("\nstopped")
        return 130
    except MainstayError as error:
        screen.expect(kept=False, sentence=str(error))
        screen.close()
    finally:
        if keep or screen.broken:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if screen.broken else 0
