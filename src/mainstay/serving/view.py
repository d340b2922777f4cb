"""What a worker knows: an immutable snapshot, swapped whole. One request uses one snapshot throughout.

The view is refreshed by one thread when state has changed, every 200 ms at most; a request only reads the attribute
`now`. A version is loaded fully before the swap. One that fails to load leaves the old one answering, and `problem`
says why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from mainstay.core.clock import SECOND, Clock, iso
from mainstay.core.errors import MainstayError, ModelAway
from mainstay.core.inputs import ModelInput, person_texts
from mainstay.core.nouns import ColumnType, Field, Integration
from mainstay.core.ports import LoadedModel, StateReader, Versioned
from mainstay.core.records import (
    Answering,
    Applied,
    DatasetState,
    FeatureSetState,
    ModelVersion,
)
from mainstay.models.images import images_of
from mainstay.models.post import Post, post_of
from mainstay.models.pre import Pre, pre_of
from mainstay.serving import judge
from mainstay.serving.inputs import InputPlan
from mainstay.serving.judge_views import joint_terms, joint_unread
from mainstay.serving.key_ring import KeyRing
from mainstay.serving.personal import Personal
from mainstay.serving.view_rows import Keyed, keyed

REFRESH_US = 200_000
BLIND_US = 800_000
"""State that did not answer for so long may have changed: with what passes between two looks, a second."""
BLIND = "state could not be read for a second: what answers, and for whom, may have changed"
_CLOSE_AFTER_US = 30 * SECOND
_RETRY_LOAD_US = 2 * SECOND

OpenModel = Callable[[ModelVersion], LoadedModel]
OpenFile = Callable[[Applied], Integration]
Record = TypeVar("Record", bound=msgspec.Struct)
T = TypeVar("T")


Checked = tuple[tuple[int, ColumnType], ...]
"""Places of outputs, and their types."""


def _nobody(_key: str, _of: FeatureSetState | None) -> bool:
    return False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent picture of what answers. `None` where the installation has none yet."""

    integration: Integration
    applied: str
    """Digest of the applied file."""
    version: ModelVersion | None
    model: LoadedModel | None
    versions: tuple[int, ...] = ()
    """The versions that a caller may address: the one that answers, and the one before it."""
    feature_set: FeatureSetState | None
    """Of several views, the first one's."""
    key_type: ColumnType
    terms: judge.Terms
    plan: InputPlan | None
    columns: tuple[tuple[str, ColumnType], ...] = ()
    """The feature columns of every view."""
    key_columns: tuple[Field, ...] = ()
    """What a request's key may name."""
    keyed: Keyed | None = None
    """Where there are several views, or a key of several columns; None: a key is its row's own text."""
    cleaning: str
    as_of_text: str | None
    """`terms.as_of_us` in ISO 8601, ready for answers."""
    quick: bool = False
    """Whether a key is answered in this process without waiting for another process or for the disk."""
    shared_receipt: tuple[int, bytes] = (0, b"")
    """Of every receipt of an answered key the fields that are the same: how many, and as MessagePack, no header."""
    outputs: tuple[str, ...] = ()
    checked: Checked = ()
    """Outputs whose values are looked at before they leave."""
    given: tuple[str, ...] = ()
    """The model's own outputs, before `model.post`; the same where there are no steps."""
    given_checked: Checked = ()
    fed: tuple[str, ...] = ()
    """The model's own inputs, where `model.pre` makes them of others."""
    pre: Pre | None = None
    post: Post | None = None
    personal: Personal = Personal(None)
    """What receipts show to those who may not see who somebody is."""
    erased: Callable[[str, FeatureSetState | None], bool] = _nobody
    """Whether a key of a feature set is on the suppression list: receipts about it do not name it."""


class _Look(NamedTuple):
    """What one look at state found, for every picture that is made of it."""

    applied: Applied
    integration: Integration
    versions: tuple[int, ...]
    sets: tuple[FeatureSetState, ...]
    personal: Personal
    erased: Callable[[str, FeatureSetState | None], bool]


class _Asked:
    """State that knows since when it owes an answer."""

    def __init__(self, state: StateReader, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self.since_us: int | None = None
        """When the first of the calls began that were not answered since the last one that was."""

    def get(self, space: str, name: str) -> Versioned | None:
        return self._ask(lambda: self._state.get(space, name))

    def scan(self, space: str, prefix: str = "") -> tuple[Versioned, ...]:
        return self._ask(lambda: self._state.scan(space, prefix))

    def changed(self) -> int:
        return self._ask(self._state.changed)

    def _ask(self, call: Callable[[], T]) -> T:
        if self.since_us is None:
            self.since_us = self._clock.monotonic_us()
        answer = call()
        self.since_us = None
        return answer


class WorkerView:
    """Keeps `now` up to date with state.

    Args:
        state: The reader half of state; used only by the thread that calls `refresh`.
        open_model: Makes a version ready to answer; raises MainstayError where it cannot.
        open_file: Reads the applied file; raises MainstayError where it cannot.
        clock: For when loading is tried again and old models are closed.
        name_of: The keyed hash by which the suppression list names a key; None: nobody was ever erased.
        blind_us: How long state may owe an answer before rows are judged by `on_stale`; None: it is read in process.
        keys: The API keys, where somebody else refreshes them; None: they are refreshed with the rest.
    """

    def __init__(
        self,
        state: StateReader,
        open_model: OpenModel,
        open_file: OpenFile,
        clock: Clock,
        *,
        name_of: Callable[[str], str] | None = None,
        blind_us: int | None = None,
        keys: KeyRing | None = None,
    ) -> None:
        self.keys = keys or KeyRing(state)
        self._alone = keys is None
        self._state = _Asked(state, clock)
        self._blind_us = blind_us
        self._swap = threading.Lock()
        self._name_of = name_of
        self._open_model = open_model
        self._open_file = open_file
        self._clock = clock
        self._seen: int | None = None
        self._records: dict[tuple[str, str], tuple[int, Any]] = {}
        self._file: tuple[str, Integration] | None = None
        self._models: dict[int, LoadedModel] = {}
        self._leaving: list[tuple[int, LoadedModel]] = []
        self._retry_us: int | None = None
        self._wished = 0
        self._wish = threading.Event()
        self._other: Snapshot | None = None
        self.now: Snapshot | None = None
        self.problem = ""
        """Why the newest state is not the one that answers; empty when it is."""

    def refresh(self) -> bool:
        """Looks whether state changed and swaps the snapshot if so. Returns whether it was swapped.

        Never raises a MainstayError: the old snapshot keeps answering and `problem` tells.
        """
        at_us = self._clock.monotonic_us()
        self._close_left(at_us)
        try:
            seen = self._state.changed()
            if self._alone:
                self.keys.refresh()
            due = (self._retry_us is not None and at_us >= self._retry_us) or self._wish.is_set()
            if seen == self._seen and not due:
                return False
            self._retry_us = None
            self._wish.clear()
            self.problem = ""
            snapshot = self._read(at_us)
        except MainstayError as error:
            self.problem = error.sentence
            self._retry_us = at_us + _RETRY_LOAD_US
            return False
        self._seen = seen
        if snapshot is None:
            return False
        with self._swap:
            self.now = snapshot
        return True

    def other(self, number: int) -> Snapshot | None:
        """The picture in which version `number`, one of `now.versions`, answers.

        None while it is not loaded: the thread that calls `refresh` loads it, now that it was asked for.
        """
        snap, other = self.now, self._other
        if snap is None or number not in snap.versions:
            return None
        if snap.version is not None and snap.version.number == number:
            return snap
        if other is not None and other.version is not None and other.version.number == number:
            return other
        self._wished = number
        self._wish.set()
        return None

    def watch(self) -> None:
        """Looks whether state owes an answer for too long. Never waits: for a thread other than that of `refresh`."""
        if self._blind_us is None:
            return
        since_us = self._state.since_us
        blind = since_us is not None and self._clock.monotonic_us() - since_us > self._blind_us
        with self._swap:
            snap = self.now
            if snap is not None and blind != bool(snap.terms.unread):
                told = judge.unread if snap.keyed is None else joint_unread
                self.now = msgspec.structs.replace(snap, terms=told(snap.terms, BLIND if blind else ""))
                self._other = None  # what was known of it is as old; whoever wants it asks again

    def close(self) -> None:
        """Closes every loaded model."""
        for _, model in self._leaving:
            model.close()
        for model in self._models.values():
            model.close()
        self._leaving.clear()
        self._models.clear()
        self.now = self._other = None

    def _read(self, at_us: int) -> Snapshot | None:
        applied = self._one("applied", "file", Applied)
        if applied is None:
            self.problem = "no file is applied"
            return None
        integration = self._integration(applied)
        version, model = self._answering(at_us)
        before = self._before(version)
        wished = before if before is not None and before.number == self._wished else None
        other = self._wished_model(wished)
        if wished is not None and other is None:
            before = None
        versions = tuple(one.number for one in (version, before) if one is not None)
        sets = tuple(self._cached(item, FeatureSetState) for item in self._state.scan("feature_set"))
        look = _Look(applied, integration, versions, sets, Personal(integration, sets), self._suppression())
        self._other = None
        if wished is not None and other is not None:
            self._other = self._picture(look, wished, other)
        return self._picture(look, version, model)

    def _wished_model(self, version: ModelVersion | None) -> LoadedModel | None:
        """The model of a version that somebody asked for and that does not answer; None where it does not load."""
        if version is None:
            return None
        if version.number not in self._models:
            try:
                self._models[version.number] = self._open_model(version)
            except MainstayError as error:
                self.problem = f"model version {version.number} was asked for and does not load: {error.sentence}"
        return self._models.get(version.number)

    def _before(self, version: ModelVersion | None) -> ModelVersion | None:
        """The version that answered before, as long as what it reads is still published."""
        chosen = self._one("answering", "champion", Answering)
        if version is None or chosen is None or chosen.version != version.number or not chosen.previous:
            return None
        before = self._one("model", f"{chosen.previous:06d}", ModelVersion)
        if before is None or before.retired_us is not None:
            return None
        pinned = [self._one("feature_set", digest, FeatureSetState) for digest in before.feature_sets]
        return before if all(one is not None and not one.retired for one in pinned) else None

    def _picture(self, look: _Look, version: ModelVersion | None, model: LoadedModel | None) -> Snapshot:
        integration = look.integration
        sets = self._feature_sets(look, version)
        feature_set = sets[0] if sets else None
        states = {name: state for name in integration.datasets if (state := self._one("dataset", name, DatasetState))}
        terms, several = _terms(integration, sets, states)
        given_by = ModelInput(sets=sets)
        outputs = version.signature.outputs if version else ()
        given = version.given.outputs if version else ()
        quick = model is not None and not model.capabilities.blocking and several is None
        return Snapshot(
            integration=integration,
            applied=look.applied.digest,
            version=version,
            model=model,
            versions=look.versions,
            feature_set=feature_set,
            key_type=feature_set.key_type if feature_set else "string",
            columns=given_by.columns,
            key_columns=given_by.keys,
            keyed=several,
            terms=terms,
            plan=_plan(integration, version, given_by),
            cleaning=_cleaning(states),
            as_of_text=None if terms.as_of_us is None else iso(terms.as_of_us),
            shared_receipt=_shared(integration, version, feature_set, _cleaning(states)),
            quick=quick and integration.settings.durability == "process",
            outputs=tuple(field.name for field in outputs),
            given=tuple(field.name for field in given),
            given_checked=_checked(given),
            fed=tuple(field.name for field in version.fed) if version else (),
            pre=pre_of(version) if version else None,
            post=post_of(version) if version else None,
            personal=look.personal,
            erased=look.erased,
            checked=_checked(outputs),
        )

    def _suppression(self) -> Callable[[str, FeatureSetState | None], bool]:
        name_of = self._name_of
        names = frozenset(item.name for item in self._state.scan("suppressed"))
        if name_of is None or not names:
            return _nobody

        def erased(key: str, of: FeatureSetState | None) -> bool:
            return any(name_of(text) in names for text in person_texts(key, of.key_names if of else ()))

        return erased

    def _integration(self, applied: Applied) -> Integration:
        if self._file is not None and self._file[0] == applied.digest:
            return self._file[1]
        try:
            integration = self._open_file(applied)
        except MainstayError as error:
            if self._file is None:
                raise
            self.problem = f"the applied file cannot be read: {error.sentence}"
            self._retry_us = self._clock.monotonic_us() + _RETRY_LOAD_US
            return self._file[1]
        self._file = (applied.digest, integration)
        return integration

    def _answering(self, at_us: int) -> tuple[ModelVersion | None, LoadedModel | None]:
        """The version that answers and its model; the one that answered before where the new one does not load."""
        chosen = self._one("answering", "champion", Answering)
        if chosen is None:
            return None, None
        before = self.now
        try:
            version = self._one("model", f"{chosen.version:06d}", ModelVersion)
            if version is None:
                raise ModelAway(f"model version {chosen.version} is not in state")
            model = self._models.get(version.number)
            if model is None:
                model = self._models[version.number] = self._open_model(version)
        except MainstayError as error:
            if before is None or before.version is None:
                raise
            self._retry_us = at_us + _RETRY_LOAD_US
            old = before.version.number
            self.problem = f"model version {chosen.version} does not load, {old} still answers: {error.sentence}"
            return before.version, before.model
        self._let_go({version.number, chosen.previous or 0}, at_us)
        return version, model

    def _let_go(self, wanted: set[int], at_us: int) -> None:
        """Versions that neither answer nor answered last are closed once no request can still use them."""
        for number in [number for number in self._models if number not in wanted]:
            self._leaving.append((at_us + _CLOSE_AFTER_US, self._models.pop(number)))

    def _close_left(self, at_us: int) -> None:
        while self._leaving and self._leaving[0][0] <= at_us:
            self._leaving.pop(0)[1].close()

    def _feature_sets(self, look: _Look, version: ModelVersion | None) -> tuple[FeatureSetState, ...]:
        """The sets that the version pins; for one that reads no features, the newest of each of the model's views."""
        if version is not None and version.feature_set:
            pinned = [self._one("feature_set", digest, FeatureSetState) for digest in version.feature_sets]
            there = tuple(one for one in pinned if one is not None)
            return there if len(there) == len(pinned) else ()  # one without the other would answer from half a row
        found = []
        for view in look.integration.model.views:
            mine = [each for each in look.sets if each.view == view and not each.retired]
            found += [max(mine, key=lambda each: (each.complete, each.plan))] if mine else []
        return tuple(found)

    def _one(self, space: str, name: str, kind: type[Record]) -> Record | None:
        item = self._state.get(space, name)
        return None if item is None else self._cached(item, kind)

    def _cached(self, item: Versioned, kind: type[Record]) -> Record:
        """The record, decoded once per version of it."""
        place = (item.space, item.name)
        known = self._records.get(place)
        if known is not None and known[0] == item.version:
            record: Record = known[1]
            return record
        record = msgspec.json.decode(item.body, type=kind)
        self._records[place] = (item.version, record)
        return record


def _terms(
    integration: Integration, sets: Sequence[FeatureSetState], states: Mapping[str, DatasetState]
) -> tuple[judge.Terms, Keyed | None]:
    """What rows are judged by; and the views, where there are several or a key has several columns."""
    policy, has_fallback = integration.answer, integration.fallback is not None
    parts = [
        judge.terms(policy, one, states, integration.datasets, has_fallback=has_fallback) for one in sets or (None,)
    ]
    if len(ModelInput(sets=tuple(sets)).keys) < 2 and len(sets) < 2:
        return parts[0], None
    return joint_terms(policy, parts, has_fallback=has_fallback), keyed(sets, parts)


def _plan(integration: Integration, version: ModelVersion | None, given_by: ModelInput) -> InputPlan | None:
    if version is None:
        return None
    beside = integration.model.request_inputs
    return InputPlan(version.signature, given_by.columns, beside, given_by.keys, images_of(version))


def _checked(outputs: Sequence[Field]) -> Checked:
    return tuple((place, field.type) for place, field in enumerate(outputs) if field.type in ("number", "bytes"))


def _cleaning(states: Mapping[str, DatasetState]) -> str:
    """`dataset=digest` of each dataset's cleaning, for receipts."""
    return ",".join(f"{name}={state.cleaning}" for name, state in sorted(states.items()) if state.cleaning)


def _shared(
    integration: Integration,
    version: ModelVersion | None,
    feature_set: FeatureSetState | None,
    cleaning: str,
) -> tuple[int, bytes]:
    """Field names and values, one after the other, as they stand inside a map."""
    if version is None or feature_set is None:
        return 0, b""
    fields: dict[str, Any] = {
        "v": 1,
        "integration": integration.name,
        "api": integration.api,
        "feature_set": feature_set.digest,
        "version": version.number,
        "artifact": version.digest,
        "runtime": version.runtime,
        "cleaning": cleaning,
    }
    parts = [msgspec.msgpack.encode(part) for pair in fields.items() for part in pair]
    return len(fields), b"".join(parts)
