"""What the steps of the story share: the world, the screen, the traffic, and whom we look at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mainstay.app.demo.account import open_page
from mainstay.app.demo.ask import Said, ask
from mainstay.app.demo.crm_page import CrmPage
from mainstay.app.demo.screen import Screen
from mainstay.app.demo.traffic import Traffic
from mainstay.app.demo.world import TEMPLATE, DemoFailed, Ran, World


class Scene:
    """Handed from step to step."""

    python = sys.executable
    """The lab's interpreter; the demo's is our own."""

    def __init__(self, world: World, screen: Screen) -> None:
        self.world = world
        self.screen = screen
        self.watched = "C-00000"
        """The customer whose two answers are shown."""
        self.leaving = "C-00001"
        """The customer who will be deleted."""
        self.decided = ""
        """The receipt of the answer on which somebody decides."""

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Customers that the story asks for."""
        return tuple(f"C-{number:05d}" for number in range(200))

    @cached_property
    def traffic(self) -> Traffic:
        """An application that asks all the time; starts when first needed."""
        return Traffic(self.world, self.keys)

    @cached_property
    def page(self) -> CrmPage:
        """The CRM's account pages, with the card in them; open from when they are first needed."""
        return open_page(self.world, (self.watched, "C-00002", "C-00003")).__enter__()

    def end(self) -> None:
        """Ends what the scene started by itself."""
        if "page" in self.__dict__:
            self.page.__exit__(None, None, None)
        if "traffic" in self.__dict__:
            self.traffic.close()

    def show(
        self, *args: str, timeout_s: float = 120.0, check: bool = True, lines: int = 30, folder: Path | None = None
    ) -> Ran:
        """Runs a command of the CLI and shows it with the first lines of what it printed."""
        ran = self.world.cli(*args, timeout_s=timeout_s, check=check, folder=folder)
        shown = " ".join(arg.replace(f"{self.world.folder}/", "") for arg in args)
        self.screen.command(f"mainstay {shown}", _short(ran.out, lines))
        return ran

    def train(self) -> dict[str, Any]:
        """Trains as a data scientist does; what the script printed."""
        world = self.world
        command = [self.python, str(TEMPLATE / "train.py"), world.crm_url, str(world.model), str(world.example)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the demo's script
        if done.returncode:
            raise DemoFailed(f"training failed: {done.stderr[-1_000:]}")
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def newest_version(self) -> int:
        """The number of the newest model version."""
        listed = self.world.cli("model", "list", "--json").json
        return max((int(model["number"]) for model in _items(listed, "models")), default=0)

    def dirty_keys(self) -> set[str]:
        """Customers whose rows in the CRM are dirty right now."""
        with self.world.crm() as connection:
            rows = connection.execute("SELECT customer_id FROM customers WHERE tenure_months NOT BETWEEN -1 AND 120")
            return {row[0] for row in rows.fetchall()}

    def good(self, key: str) -> Said | None:
        """Mainstay's answer for a customer if it is one, else None."""
        said = self.world.mainstay(key)
        return said if said.status == 200 and said.probability is not None else None

    def fresh(self, key: str) -> Said | None:
        """Mainstay's answer if it is one with nothing to object, else None."""
        said = self.good(key)
        return said if said and said.body.get("verdict") == "PASS" else None

    def agree(self, keys: Sequence[str]) -> bool:
        """Whether both answer the same for all of these customers."""
        for key in keys:
            glue, ours = self.world.glue(key).probability, self.world.mainstay(key).probability
            if glue is None or ours is None or abs(glue - ours) > 1e-6:
                return False
        return True

    def both(self, when: str, key: str | None = None) -> tuple[Said, Said]:
        """Asks both for a customer and shows the answers side by side."""
        key = key or self.watched
        glue, mainstay = self.world.glue(key), self.world.mainstay(key)
        self.screen.pair(when, glue, mainstay)
        return glue, mainstay

    def receipt(self, id: str) -> Said:
        return ask(f"{self.world.url}/v1/receipts/{id}", headers=self.world.headers)


def pick(scene: Scene, keys: Sequence[str]) -> str:
    """A customer at high risk who pays much: there a wrong answer costs most."""
    with scene.world.crm() as connection:
        rows = connection.execute(
            "SELECT customer_id FROM subscriptions WHERE customer_id = ANY(%s) ORDER BY monthly_charges DESC LIMIT 15",
            ([key for key in keys if key != scene.leaving],),
        )
        dear = [str(row[0]) for row in rows.fetchall()]
    risks = {key: scene.world.mainstay(key).probability or 0.0 for key in dear}
    return max(risks, key=lambda key: risks[key])


def _items(listed: Any, name: str) -> list[dict[str, Any]]:
    return list(listed[name] if isinstance(listed, dict) else listed)


def _short(text: str, lines: int) -> str:
    """The first lines of a long output."""
    all_lines = text.rstrip().splitlines()
    if len(all_lines) <= lines:
        return text
    return "\n".join([*all_lines[:lines], f"... {len(all_lines) - lines} more lines"])
