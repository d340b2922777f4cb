"""An application that asks all the time, so that the story can tell what a blow did to it."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mainstay.app.demo.ask import Said
from mainstay.app.demo.world import World


@dataclass(frozen=True)
class Tally:
    """What came back since a moment."""

    answers: tuple[Said, ...] = field(default=())

    @property
    def failed(self) -> tuple[Said, ...]:
        """Neither an answer nor a refusal with a receipt."""
        return tuple(said for said in self.answers if not said.receipt)

    @property
    def receipts(self) -> tuple[str, ...]:
        return tuple(said.receipt for said in self.answers if said.receipt)

    @property
    def versions(self) -> tuple[int, ...]:
        """Model versions in the order in which they first answered."""
        return tuple(
            dict.fromkeys(int(said.body["model_version"]) for said in self.answers if "model_version" in said.body)
        )

    @property
    def statuses(self) -> dict[int, int]:
        return dict(sorted(Counter(said.status for said in self.answers).items()))


class Traffic:
    """Asks Mainstay for one customer after the other, from two threads, until closed."""

    def __init__(self, world: World, keys: Sequence[str]) -> None:
        self._world = world
        self._keys = itertools.cycle(keys)
        self._answers: list[Said] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def mark(self) -> int:
        """A moment, for `since`."""
        with self._lock:
            return len(self._answers)

    def since(self, mark: int) -> Tally:
        with self._lock:
            return Tally(tuple(self._answers[mark:]))

    def close(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        while not self._ending.wait(0.01):
            with self._lock:
                key = next(self._keys)
            said = self._world.mainstay(key)
            with self._lock:
                self._answers.append(said)
