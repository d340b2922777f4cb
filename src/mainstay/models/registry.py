"""Model versions: immutable, numbered from 1, and which of them answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.audit import AuditRecord, Change, Detail
from mainstay.core.clock import Clock, SystemClock
from mainstay.core.errors import Conflict, ModelRefused, NotFound, Refused
from mainstay.core.ids import digest_bytes
from mainstay.core.nouns import Field, InlineModel, PostStep, PreStep, Signature
from mainstay.core.ports import Artifacts, LoadedModel, State, StateReader, Versioned, Write
from mainstay.core.records import Answering, ModelVersion, encode
from mainstay.models.post import with_post
from mainstay.models.pre import Pre, with_pre
from mainstay.models.runtimes import runtime_of
from mainstay.models.runtimes.python_process import PythonHost
from mainstay.store import audit

SPACE = "model"
ANSWERING = ("answering", "champion")
WITHOUT_ARTIFACT = frozenset({"constant", "rule", "http"})

Secrets = Callable[[str], str]
"""A text with placeholders -> the same with their values. Raises ModelAway where one has none."""
Hindrance = Callable[[ModelVersion], str]
"""Why a version cannot answer yet (its feature set is not complete or not fresh); empty when it can."""


class RegistryReader:
    """What versions there are, and which one answers. Costs two reads of state."""

    def __init__(self, state: StateReader) -> None:
        self._state = state

    def versions(self) -> tuple[ModelVersion, ...]:
        """Every version, by number."""
        return tuple(msgspec.json.decode(record.body, type=ModelVersion) for record in self._state.scan(SPACE))

    def get(self, number: int) -> ModelVersion:
        """Raises NotFound, naming the versions that there are."""
        record = self._state.get(SPACE, _name(number))
        if record is None:
            known = ", ".join(str(version.number) for version in self.versions()) or "none yet"
            raise NotFound(f"there is no model version {number}", mend=f"versions: {known} (mainstay model list)")
        return msgspec.json.decode(record.body, type=ModelVersion)

    def answering(self) -> Answering | None:
        """Which version answers; None before the first."""
        record = self._state.get(*ANSWERING)
        return None if record is None else msgspec.json.decode(record.body, type=Answering)


class Registry(RegistryReader):
    """The writing half.

    Args:
        state: Where versions are.
        token: The lease's, where one is held.
        tell: Hears of each record of the audit that was made.
    """

    def __init__(
        self, state: State, *, token: int | None = None, tell: Callable[[AuditRecord], None] = lambda _made: None
    ) -> None:
        super().__init__(state)
        self._writable = state
        self._token = token
        self._tell = tell

    def add(self, draft: ModelVersion, *, by: str = "") -> ModelVersion:
        """Stores the draft under the next number, whatever it carries; equal content gives the one that is there.

        `by`: who does, where it is somebody else than who made the draft.
        """
        while True:
            versions = self.versions()
            for version in versions:
                if content(version) == content(draft) and version.retired_us is None:
                    return version
            number = max((version.number for version in versions), default=0) + 1
            made = msgspec.structs.replace(draft, number=number)
            try:
                told = change(
                    "model.add",
                    f"version {number}",
                    {"version": number, "digest": made.digest, "name": made.name, "origin": made.origin},
                    by=by or made.created_by,
                    at_us=made.created_us,
                )
                self._commit(SPACE, _name(number), made, None, told)
            except Conflict:
                continue
            return made

    def use(self, number: int, *, by: str, at_us: int, hindrance: Hindrance = lambda _: "") -> Answering:
        """Lets a version answer from now on. Raises Refused when it is retired or its feature set is not ready."""
        version = self.get(number)
        if version.retired_us is not None:
            raise Refused(f"version {number} is retired")
        why = hindrance(version)
        if why:
            raise Refused(
                f"version {number} cannot answer yet: {why}", mend=f"try again when it is: mainstay model use {number}"
            )
        while True:
            record = self._state.get(*ANSWERING)
            now = None if record is None else msgspec.json.decode(record.body, type=Answering)
            if now is not None and now.version == number:
                return now
            then = Answering(version=number, previous=now.version if now else None, since_us=at_us, by=by)
            told = change(
                "model.use",
                f"version {number}",
                {"version": number, "previous": then.previous},
                by=by,
                at_us=at_us,
            )
            try:
                self._commit(*ANSWERING, then, record, told)
            except Conflict:
                continue
            return then

    def from_file(
        self,
        inline: InlineModel,
        *,
        name: str,
        inputs: tuple[Field, ...],
        feature_set: str,
        at_us: int,
        by: str = "",
        pre: tuple[PreStep, ...] = (),
        post: tuple[PostStep, ...] = (),
        hindrance: Hindrance = lambda _: "",
    ) -> tuple[ModelVersion, bool]:
        """The version of a constant or rule that stands in the file, and whether it answers now.

        It is used at once only where nothing answers yet, or what answers came from the file too and its feature set is
        ready. Raises ModelRefused when the rule does not work.
        """
        draft = inline_draft(
            inline, name=name, inputs=inputs, feature_set=feature_set, at_us=at_us, by=by, pre=pre, post=post
        )
        added = self.add(draft)
        now = self.answering()
        if now is not None and now.version == added.number:
            return added, True
        if (now is None or self.get(now.version).origin == "file") and not hindrance(added):
            self.use(added.number, by=by, at_us=at_us)
            return added, True
        return added, False

    def retire(self, number: int, *, at_us: int, by: str = "") -> ModelVersion:
        """Marks a version as no longer usable. Raises Refused for the one that answers."""
        now = self.answering()
        if now is not None and now.version == number:
            raise Refused(f"version {number} answers now", mend="mainstay model use another one first")
        record = self._state.get(SPACE, _name(number))
        version = msgspec.structs.replace(self.get(number), retired_us=at_us)
        told = change(
            "model.retire",
            f"version {number}",
            {"version": number, "digest": version.digest},
            by=by,
            at_us=at_us,
        )
        self._commit(SPACE, _name(number), version, record, told)
        return version

    def _commit(self, space: str, name: str, body: msgspec.Struct, before: Versioned | None, told: Change) -> None:
        data = encode(body, before.body if before else None)
        expect = before.version if before else 0
        write = Write(space=space, name=name, body=data, expect=expect)
        self._tell(audit.commit(self._writable, [write], told, token=self._token))


def change(what: str, object: str, details: Mapping[str, Detail], *, by: str, at_us: int) -> Change:
    """A change as the audit will tell of it."""
    return Change(what=what, object=object, details=details, by=by, at_us=at_us)


def inline_draft(
    inline: InlineModel,
    *,
    name: str,
    inputs: tuple[Field, ...],
    feature_set: str,
    at_us: int,
    by: str,
    pre: tuple[PreStep, ...] = (),
    also: tuple[str, ...] = (),
    post: tuple[PostStep, ...] = (),
    beside: Sequence[Field] = (),
) -> ModelVersion:
    """A model that stands in the file as a version, loaded once to see that it works. A constant reads no features.

    `inputs`: the feature columns; a rule sees them after the steps of `pre`. `beside`: what else a request gives; one
    that is served elsewhere may be sent that too, and is sent what it names alone.
    """
    constant = inline.kind == "constant"
    if inline.kind == "http":
        inputs = (*inputs, *(field for field in beside if field.name not in {one.name for one in inputs}))
    options: dict[str, Any] = {
        "constant": {"values": dict(inline.values)},
        "rule": {"rules": dict(inline.rules)},
        "http": dict(inline.options),
    }[inline.kind]
    after = Pre(pre, inputs).outputs
    if inline.kind == "http":
        after = _sent(options.get("inputs", ()), after)
    signature = Signature(inputs=() if constant else after, outputs=inline.outputs)
    loaded = runtime_of(inline.kind).load(None, signature, options)
    try:
        build = loaded.build
    finally:
        loaded.close()
    plain = ModelVersion(
        number=0,
        name=name,
        digest=options_digest(inline.kind, options, signature, post, () if constant else pre),
        runtime=inline.kind,
        options=options,
        signature=signature,
        feature_set=feature_set,
        also=also,
        origin="file",
        created_us=at_us,
        created_by=by,
        build=build,
    )
    return with_post(with_pre(plain, pre, inputs), post)


def _sent(names: Sequence[str], columns: Sequence[Field]) -> tuple[Field, ...]:
    known = {field.name: field for field in columns}
    for name in names:
        if name not in known:
            raise ModelRefused(f"`http.inputs` names {name}, which nothing gives", mend=f"there is: {', '.join(known)}")
    return tuple(known[name] for name in names)


def options_digest(
    runtime: str,
    options: Mapping[str, Any],
    signature: Signature,
    post: tuple[PostStep, ...] = (),
    pre: tuple[PreStep, ...] = (),
) -> str:
    """The digest of a model that is all options."""
    told = [runtime, options, signature, *([post] if post else []), *([{"pre": pre}] if pre else [])]
    return digest_bytes(msgspec.json.encode(told, order="deterministic"))


def socket_of(version: ModelVersion, sockets: Path) -> Path:
    """Where the host of a python version listens."""
    return sockets / f"model-{version.number}-{version.digest.removeprefix('sha256:')[:12]}.sock"


def load(
    version: ModelVersion,
    artifacts: Artifacts,
    sockets: Path,
    *,
    start: bool = False,
    clock: Clock | None = None,
    secrets: Secrets | None = None,
) -> LoadedModel:
    """The version ready to answer. Raises Corrupt for a wrong digest, NotFound for a lost artifact, ModelRefused.

    What it eats is after `pre`, what it gives before `post`. A python version connects to the host that `up` keeps for
    it; `start`: begins one of its own where there is none. `secrets`: for a model that is served elsewhere.
    """
    if version.runtime in WITHOUT_ARTIFACT:
        given = {"secrets": secrets} if version.runtime == "http" and secrets is not None else {}
        return runtime_of(version.runtime).load(None, version.given, {**version.options, **given})
    artifact = artifacts.path(version.digest)
    options: dict[str, Any] = {**version.options, "build": version.build, "digest": version.digest}
    if version.runtime == "python":
        options |= {"socket": str(socket_of(version, sockets)), "start": start}
    runtime = runtime_of(version.runtime)
    if version.runtime == "python" and clock is not None:
        from mainstay.models.runtimes.python import PythonRuntime

        runtime = PythonRuntime(clock)
    return runtime.load(artifact, version.given, options)


def host_of(
    version: ModelVersion, artifacts: Artifacts, sockets: Path, *, log: Path | None = None, clock: Clock | None = None
) -> PythonHost:
    """The supervisor of a python version's process, not started yet. Raises Corrupt or NotFound."""
    return PythonHost(
        artifacts.path(version.digest),
        version.digest,
        {**version.options, "warm": [_made_up(field) for field in version.given.inputs]},
        socket_of(version, sockets),
        log=log,
        clock=clock or SystemClock(),
    )


_MADE_UP = {"string": "", "integer": 0, "number": 0.0, "boolean": False, "timestamp": 0}


def _made_up(field: Field) -> Any:
    return field.categories[0] if field.categories else _MADE_UP.get(field.type, "")


def _name(number: int) -> str:
    return f"{number:06d}"


def content(version: ModelVersion) -> tuple[Any, ...]:
    """What makes a version that version; not when, by whom, or what was measured."""
    return (
        version.name,
        version.digest,
        version.original_digest,
        version.runtime,
        msgspec.json.encode(version.options, order="deterministic"),
        version.signature,
        msgspec.json.encode(version.pre, order="deterministic"),
        version.fed,
        msgspec.json.encode(version.post, order="deterministic"),
        version.feature_sets,
        version.origin,
    )
