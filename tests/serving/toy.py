"""A small integration in memory: what a worker would know, without processes and files but for the journal."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from mainstay.app import issuers
from mainstay.core.clock import HOUR, MINUTE, SECOND
from mainstay.core.errors import ModelAway, ModelRefused, ModelTimeout
from mainstay.core.ids import keyed_hash
from mainstay.core.nouns import (
    AnswerPolicy,
    Column,
    Dataset,
    Fallback,
    FeatureView,
    Field,
    Freshness,
    Integration,
    ModelConfig,
    Purpose,
    Settings,
    Signature,
    SourceConfig,
)
from mainstay.core.ports import OnlineRow, Row, RuntimeCapabilities, Write
from mainstay.core.records import Answering as AnsweringState
from mainstay.core.records import Applied, DatasetState, FeatureSetState, ModelVersion, Receipt, encode
from mainstay.core.verdicts import Verdict
from mainstay.serving.card_tokens import CardTokens
from mainstay.serving.desk import Desk
from mainstay.serving.keys import Role, create_key
from mainstay.serving.meter import Meter
from mainstay.serving.tokens import Tokens
from mainstay.serving.view import WorkerView
from mainstay.serving.work import Call
from mainstay.store.journal import SegmentJournal
from mainstay.store.memory import MemoryOnline, MemoryState
from mainstay.store.repeats_sqlite import SqliteRepeats
from mainstay.testing.clock import FakeClock

NOW = 1_800_000_000 * SECOND
SET = "sha256:set"
CALL = Call("caller", "req-1", 0)
SECRET = b"s" * 32

SIGNATURE = Signature(
    inputs=(
        Field(name="tenure", type="integer"),
        Field(name="charges", type="number"),
        Field(name="contract", type="string"),
    ),
    outputs=(Field(name="churn", type="number", unit="probability", minimum=0, maximum=1),),
)


class Linear:
    """A LoadedModel: tenure / 100 + charges / 1000. `mood` makes it fail in the ways that models do."""

    build = "linear 1"

    def __init__(self, *, blocking: bool = False) -> None:
        self.capabilities = RuntimeCapabilities(blocking=blocking)
        self.mood = "fine"
        self.words = 0
        """How many more outputs it has, all of them null."""
        self.asked: list[int] = []
        self.closed = False
        self.go_on = threading.Event()
        self.began = threading.Event()

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        self.asked.append(len(rows))
        if self.mood == "wait":
            self.began.set()
            self.go_on.wait(10)
        if self.mood == "away":
            raise ModelAway("the model's process is being restarted")
        if self.mood == "late":
            raise ModelTimeout("late")
        if self.mood == "broken":
            raise ZeroDivisionError("secret value 4711")
        if self.mood == "nan":
            return [(float("nan"),) for _ in rows]
        if any(row[2] == "deadly" for row in rows):
            raise ModelAway("the model's process died and is being restarted")
        if any(row[2] == "poison" for row in rows):
            raise ModelRefused("an unknown category")
        words = (None,) * self.words
        return [((row[0] or 0) / 100 + (row[1] or 0.0) / 1000, *words) for row in rows]

    def present(self) -> bool:
        return self.mood != "away"

    def close(self) -> None:
        self.closed = True


def integration(**changes: Any) -> Integration:
    column = Column(name="customer_id", type="string", source_name="customer_id", required=True)
    plain = Integration(
        name="churn",
        api=1,
        purpose=Purpose(),
        sources={"crm": SourceConfig(name="crm", kind="postgres", options={})},
        datasets={
            "customers": Dataset(
                name="customers",
                source="crm",
                table="customers",
                key="customer_id",
                columns=(column,),
                freshness=Freshness(warn_us=5 * MINUTE, fail_us=HOUR),
            )
        },
        features={"customer": FeatureView(name="customer", key="customer_id", sql="SELECT 1")},
        model=ModelConfig(name="churn", input="customer"),
        fallback=Fallback(values={"churn": 0.26}, reason="base rate"),
        digest="sha256:file",
    )
    return msgspec.structs.replace(plain, **changes)


def online_row(key: str, **changes: Any) -> OnlineRow:
    plain = OnlineRow(
        key=key,
        plan=7,
        values=b'[12,50.0,"Two year"]',
        event_us=NOW - 90 * 24 * HOUR,
        landed_us=NOW - SECOND,
        verdict=Verdict.PASS,
        sentence="",
        held=False,
        held_as_of_us=None,
        deleted=False,
        evaluated_us=None,
        positions=b'{"customers":[3,17]}',
    )
    return msgspec.structs.replace(plain, **changes)


class Toy:
    """A desk and everything behind it, to be changed by tests."""

    def __init__(self, folder: Path, *, blocking: bool = False, **changes: Any) -> None:
        self.clock = FakeClock(NOW)
        self.folder = folder
        self.state = MemoryState()
        self.online = MemoryOnline()
        self.journal = SegmentJournal(folder / "journal", secret=SECRET, clock=self.clock)
        self.model = Linear(blocking=blocking)
        self.models: dict[int, Linear] = {1: self.model}
        self.file = integration(**changes)
        self.view = WorkerView(
            self.state, lambda version: self.models[version.number], lambda applied: self.file, self.clock
        )
        self.meter = Meter(folder / "meters" / "api-1.json")
        self.desk = Desk(
            self.view, self.online, self.journal, self.clock, self.meter,
            meters=folder / "meters", cards=CardTokens(SECRET),
            repeats=lambda: SqliteRepeats(folder / "repeats.sqlite"),
            tokens=Tokens(self.clock, issuers.ask, issuers.Teller(self.state, self.clock), partial(keyed_hash, SECRET)),
        )  # fmt: skip
        self.put("applied", "file", Applied(digest="sha256:file", folder=str(folder), files={}, at_us=NOW))
        self.put("feature_set", SET, self.feature_set())
        self.dataset(as_of_us=NOW - 10 * SECOND)
        self.version(1)
        self.rows(online_row("A"), online_row("B", values=b'[1,null,"poison"]'))
        self.view.refresh()

    @staticmethod
    def feature_set(**changes: Any) -> FeatureSetState:
        plain = FeatureSetState(
            digest=SET,
            view="customer",
            key="customer_id",
            key_type="string",
            sql="SELECT 1",
            mapping={"customers": "customer_id"},
            columns=(("tenure", "integer"), ("charges", "number"), ("contract", "string")),
            complete=True,
        )
        return msgspec.structs.replace(plain, **changes)

    def put(self, space: str, name: str, record: msgspec.Struct) -> None:
        self.state.commit([Write(space=space, name=name, body=encode(record))])

    def dataset(self, **fields: Any) -> None:
        self.put("dataset", "customers", DatasetState(**fields))
        self.view.refresh()

    def version(
        self, number: int, signature: Signature = SIGNATURE, *, previous: int | None = None, **changes: Any
    ) -> None:
        """Imports a version and makes it the one that answers."""
        record = ModelVersion(
            number=number,
            name="churn",
            digest=f"sha256:{number}",
            runtime="linear",
            signature=signature,
            feature_set=SET,
            origin="imported",
            created_us=NOW,
            **changes,
        )
        self.put("model", f"{number:06d}", record)
        self.put("answering", "champion", AnsweringState(version=number, previous=previous, since_us=NOW))
        self.view.refresh()

    def without_words(self) -> None:
        """The next version has a second output, `word`, and gives none."""
        self.models[2] = model = Linear()
        model.words = 1
        outputs = (*SIGNATURE.outputs, Field(name="word", type="string"))
        self.version(2, Signature(inputs=SIGNATURE.inputs, outputs=outputs))

    def rows(self, *rows: OnlineRow) -> None:
        self.online.put(SET, rows, token=1)

    def policy(self, **policies: Any) -> None:
        self.file = msgspec.structs.replace(self.file, answer=AnswerPolicy(**policies))
        self.reapply()

    def settings(self, **fields: Any) -> None:
        self.file = msgspec.structs.replace(self.file, settings=Settings(**fields))
        self.reapply()

    def reapply(self) -> None:
        digest = f"sha256:{self.state.changed()}"
        self.put("applied", "file", Applied(digest=digest, folder=str(self.folder), files={}, at_us=NOW))
        self.view.refresh()

    def key(self, role: Role = "predict") -> str:
        token, _ = create_key(self.state, role, role, clock=self.clock)
        self.view.refresh()
        return token

    def receipt(self, id: str | None) -> Receipt:
        assert id is not None
        entry = self.journal.get(id)
        assert entry is not None
        return msgspec.msgpack.decode(entry.payload, type=Receipt)

    def receipts(self) -> list[Receipt]:
        found = []
        for segment in self.journal.segments():
            for entry, _ in self.journal.scan(segment.name):
                if entry.kind == "receipt":
                    found.append(msgspec.msgpack.decode(entry.payload, type=Receipt))
        return found

    def close(self) -> None:
        self.desk.close()
        self.journal.close()
