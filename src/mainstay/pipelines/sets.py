"""Feature sets over time: made beside the old one, built, refreshed, retired; and recovery after a crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import msgspec

from mainstay.core.counts import counted
from mainstay.core.errors import Fenced, MainstayError, Refused
from mainstay.core.nouns import Dataset, FeatureView
from mainstay.core.records import FeatureSetState, PublishPlan
from mainstay.core.verdicts import Verdict
from mainstay.pipelines import feature_personal, feature_sql
from mainstay.pipelines.desk import Desk, batch_name
from mainstay.pipelines.features import Moment
from mainstay.pipelines.publish import recompute, resume
from mainstay.pipelines.run import Runner
from mainstay.pipelines.settling import finish_discard, unfinished_discards
from mainstay.store.current import schema_of


class _Meant:
    """A view over datasets, equal to another that says the same."""

    def __init__(self, view: FeatureView, datasets: Mapping[str, Dataset]) -> None:
        self.view = view
        self.datasets = datasets
        self.said = msgspec.msgpack.encode((view, tuple(datasets.items())))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Meant) and self.said == other.said

    def __hash__(self) -> int:
        return hash(self.said)


def describe_set(view: FeatureView, datasets: Mapping[str, Dataset]) -> FeatureSetState:
    """The feature set that a view means over these datasets. Raises Refused with every problem of its SQL."""
    return _described(_Meant(view, datasets))


@lru_cache(maxsize=64)  # planning and applying ask for the same again and again, and each answer takes 30 ms of CPU
def _described(meant: _Meant) -> FeatureSetState:
    view, datasets = meant.view, meant.datasets
    analysis = feature_sql.analyse(view, datasets)
    failed = [problem for problem in analysis.problems if problem.verdict is Verdict.FAIL]
    if failed:
        raise Refused(
            "; ".join(problem.sentence for problem in failed),
            where=view.path or f"features.{view.name}",
            mend=next((problem.mend for problem in failed if problem.mend), ""),
        )
    key_types, columns = feature_sql.describe(view, datasets)
    keys = {name.lower() for name in view.key_names}
    read = feature_sql.read_columns(view, datasets)
    return FeatureSetState(
        digest=feature_sql.feature_set_digest(view, analysis.mapping, read, columns),
        view=view.name,
        key=view.key,
        key_type=key_types[0] if len(key_types) == 1 else "string",
        key_types=key_types if len(key_types) > 1 else (),
        sql=feature_sql.bound_sql(view),
        mapping=analysis.mapping,
        columns=tuple((name, kind) for name, kind in columns if name.lower() not in keys),
        uses_as_of=analysis.uses_as_of,
        refresh_us=view.refresh_us,
    )


def moment(desk: Desk, names: tuple[str, ...]) -> Moment:
    """Now by both clocks, as far as the datasets' last reads tell."""
    now = desk.clock.now_us()
    skews = [
        (state.as_of_source_us or 0) - (state.as_of_us or 0)
        for state in map(desk.dataset_state, names)
        if state.as_of_us
    ]
    return Moment(now, now + (min(skews) if skews else 0))


def add(desk: Desk, state: FeatureSetState) -> FeatureSetState:
    """Keeps a feature set current from now on. An existing one is returned, un-retired."""
    found = desk.feature_sets.get(state.digest)
    if found is not None and not found.retired:
        return found
    fresh = state if found is None else msgspec.structs.replace(found, retired=False, complete=False)
    desk.feature_sets.put(state.digest, fresh, token=desk.token)
    return fresh


def build(desk: Desk, digest: str) -> FeatureSetState:
    """Computes every row of a feature set out of current. Complete once every dataset it reads was published."""
    state = desk.feature_sets.get(digest)
    if state is None:
        raise KeyError(digest)
    recompute(desk, {digest: None}, dataset="", cause="build", moment=moment(desk, tuple(state.mapping)))
    return desk.feature_sets.get(digest) or state


def refresh_due(state: FeatureSetState, now_us: int) -> bool:
    """Whether features that move with time are due to be computed again."""
    if state.retired or state.refresh_us is None:
        return False
    return state.refreshed_us is None or now_us - state.refreshed_us >= state.refresh_us


def refresh(desk: Desk, digest: str) -> None:
    """Re-evaluates every row of a set whose SQL uses `$as_of`."""
    state = desk.feature_sets.get(digest)
    if state is not None:
        recompute(desk, {digest: None}, dataset="", cause="refresh", moment=moment(desk, tuple(state.mapping)))


def retire(desk: Desk, digest: str) -> None:
    """Stops keeping a feature set and removes its rows from online."""
    state = desk.feature_sets.get(digest)
    if state is None or state.retired:
        return
    desk.feature_sets.put(digest, msgspec.structs.replace(state, retired=True, complete=False), token=desk.token)
    desk.online.drop(digest, token=desk.token)
    desk.tell("model.feature_set_retired", {"feature_set": digest, "view": state.view})


def recover(desk: Desk) -> list[str]:
    """Repairs what a crash left: landed batches that state does not know, plans half performed. Returns sentences.

    What cannot be repaired now is said and stands as it is, so that the person who mends it still has every command.
    """
    done: list[str] = []
    feature_personal.mark(desk)  # what an earlier Mainstay made does not know yet what is personal
    for name in desk.integration.parents_first():
        _told(done, f"dataset {name}", partial(_recover_dataset, desk, name))
    for one in desk.live_feature_sets():
        _told(done, f"feature set {one.digest}", partial(_recover_rows, desk, one))
    for plan in unfinished(desk):
        _told(done, f"plan {plan.number}", partial(_recover_plan, desk, plan))
    if desk.plans.is_dir():
        kept = {plan.file for plan in desk.publish_plans.all().values()}
        for stray in desk.plans.iterdir():
            if stray.name not in kept:
                stray.unlink()
    return done


def _told(done: list[str], what: str, repair: Callable[[], list[str]]) -> None:
    try:
        done.extend(repair())
    except Fenced:
        raise
    except MainstayError as error:
        done.append(f"{what} could not be repaired: {error.sentence}")


def _recover_rows(desk: Desk, one: FeatureSetState) -> list[str]:
    """Online is a cache: where it has no row of a set that was built, all are computed again out of current."""
    lost = one.complete and next(iter(desk.online.keys(one.digest)), None) is None
    if not lost or not any(desk.dataset_state(name).counts.get("published") for name in one.mapping):
        return []
    build(desk, one.digest)
    return [f"online had no row of feature set {one.digest}; {desk.online.count(one.digest)} rows computed again"]


def _recover_plan(desk: Desk, plan: PublishPlan) -> list[str]:
    finish(desk, plan)
    return [f"plan {plan.number} ({plan.cause}) performed again"]


def unfinished(desk: Desk) -> list[PublishPlan]:
    """Plans that were recorded and not finished, but for those of batches, which their dataset's next run takes up."""
    return [plan for plan in desk.publish_plans.all().values() if plan.cause != "batch"]


def finish(desk: Desk, plan: PublishPlan) -> None:
    """Performs an unfinished plan from its beginning. Raises whatever stands in its way."""
    batch = desk.batches.get(batch_name(plan.dataset, plan.batch)) if plan.batch else None
    if batch is not None and batch.number > desk.dataset_state(plan.dataset).published:
        finish_discard(desk, batch)
    else:
        resume(desk, plan, moment(desk, tuple(desk.integration.datasets)))


def _recover_dataset(desk: Desk, name: str) -> list[str]:
    runner = Runner(desk, desk.integration.datasets[name])
    done = _rebuild(desk, runner)
    done.extend(f"batch {name}/{number} was landed but not recorded; recorded" for number in runner.adopt_landed())
    for batch in unfinished_discards(desk, name):
        finish_discard(desk, batch)
        done.append(f"batch {name}/{batch.number} was half discarded; discarded")
    before = [batch.number for batch in desk.waiting(name) if batch.status == "landed"]
    runner.settle()
    done.extend(f"batch {name}/{number} was landed but not published; taken up again" for number in before)
    return done


def _rebuild(desk: Desk, runner: Runner) -> list[str]:
    """Current is a cache: where it lost batches that were published, they are applied again out of landing."""
    from mainstay.pipelines.rebuild import rebuild

    name = runner.dataset.name
    if desk.current.last_applied(name) >= desk.dataset_state(name).published:
        return []
    count = rebuild(desk, runner, after=desk.current.last_applied(name))
    rows = desk.current.one(f"SELECT count(*) FROM {schema_of(name)}.rows")[0]
    return [f"current of {name} was behind; rebuilt from {counted(count, 'batch', 'batches')}, {counted(rows, 'key')}"]
