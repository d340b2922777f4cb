"""What the pipelines of one integration work with, handed in by app/wiring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainstay.core.audit import Change, Detail, event_of
from mainstay.core.clock import Clock
from mainstay.core.nouns import Integration
from mainstay.core.ports import History, Landing, Online, Source, State, Write
from mainstay.core.records import Backfill, BatchRecord, DatasetState, FeatureSetState, PublishPlan, Suppressed
from mainstay.core.trace import NoTrace, Trace
from mainstay.store import audit
from mainstay.store.shelf import Shelf

if TYPE_CHECKING:
    from mainstay.store.current import Current


@dataclass
class Desk:
    """The stores of one integration, opened by the owner of its lease, and the sources it reads.

    `token` is the lease's fencing token; every write carries it.
    """

    integration: Integration
    state: State
    online: Online
    landing: Landing
    current: Current
    history: History
    sources: Mapping[str, Source]
    plans: Path
    clock: Clock
    token: int
    secret: bytes
    tell: Callable[[str, dict[str, Any]], None] = lambda _kind, _body: None
    """Records an event in the journal: kind and body."""
    at: Callable[[str], None] = lambda _point: None
    """Called at every commit point by name; fault tests kill the process there."""
    trace: Trace = field(default_factory=NoTrace)
    """Told of runs and their stages."""
    who: Callable[[], str] = lambda: ""
    """Who has what is done now done, for the audit."""
    datasets: Shelf[DatasetState] = field(init=False)
    batches: Shelf[BatchRecord] = field(init=False)
    backfills: Shelf[Backfill] = field(init=False)
    publish_plans: Shelf[PublishPlan] = field(init=False)
    feature_sets: Shelf[FeatureSetState] = field(init=False)
    suppressed: Shelf[Suppressed] = field(init=False)

    def __post_init__(self) -> None:
        self.datasets = Shelf(self.state, "dataset", DatasetState)
        self.batches = Shelf(self.state, "batch", BatchRecord)
        self.backfills = Shelf(self.state, "backfill", Backfill)
        self.publish_plans = Shelf(self.state, "plan", PublishPlan)
        self.feature_sets = Shelf(self.state, "feature_set", FeatureSetState)
        self.suppressed = Shelf(self.state, "suppressed", Suppressed)
        for dataset in self.integration.datasets.values():
            self.current.ensure(dataset)

    def change(self, what: str, object: str, details: Mapping[str, Detail]) -> Change:
        """A change as the audit will tell of it; to be committed with what it changes."""
        return Change(what=what, object=object, details=details, by=self.who(), at_us=self.clock.now_us())

    def commit(self, writes: Sequence[Write], change: Change | None = None) -> None:
        """Commits to state, the audit's record of `change` with it, which is told as an event then."""
        if change is None:
            self.state.commit(writes, token=self.token)
            return
        self.tell(*event_of(audit.commit(self.state, writes, change, token=self.token)))

    def dataset_state(self, name: str) -> DatasetState:
        """The dataset's state; a fresh one when it was never read."""
        return self.datasets.get(name) or DatasetState()

    def next_plan(self) -> tuple[int, Write]:
        """The next publish plan's number, and the write that takes it."""
        found = self.state.get("counter", "plan")
        before = 0 if found is None else found.version
        return before + 1, Write(space="counter", name="plan", body=b"{}", expect=before)

    def waiting(self, dataset: str) -> list[BatchRecord]:
        """Landed batches not settled yet, in order."""
        return [batch for batch in self.batches.all(f"{dataset}/").values() if not batch.settled]

    def live_feature_sets(self, dataset: str | None = None) -> list[FeatureSetState]:
        """Feature sets that are kept current; only those that read `dataset` when it is named."""
        return [
            one
            for one in self.feature_sets.all().values()
            if not one.retired and (dataset is None or dataset in one.mapping)
        ]


def batch_name(dataset: str, number: int) -> str:
    """The name of a batch in state: ordered as text as it is by number."""
    return f"{dataset}/{number:012d}"
