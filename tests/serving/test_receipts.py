from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.core.nouns import Field, Signature
from mainstay.core.records import Receipt
from mainstay.core.verdicts import Verdict
from mainstay.serving.inputs import InputPlan
from mainstay.serving.judge import Judgement
from mainstay.serving.receipts import payload, receipt_of
from mainstay.serving.request import read_predict
from mainstay.serving.work import Work
from tests.serving.toy import CALL, NOW, Toy, online_row

numbers = st.one_of(st.none(), st.integers(-(2**62), 2**62))


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.text(),
    action=st.sampled_from(("answer", "flag", "fallback", "refuse")),
    sentence=st.text(),
    instants=st.tuples(numbers, numbers, numbers),
    inputs=st.lists(st.one_of(st.none(), st.text(), st.floats(allow_nan=False)), min_size=3, max_size=3),
    batch=st.integers(1, 1000),
)
def test_the_bytes_of_a_receipt_are_those_of_its_record(  # noqa: PLR0917 - hypothesis fills them
    toy: Toy,
    key: str,
    action: str,
    sentence: str,
    instants: tuple[int | None, int | None, int | None],
    inputs: list[object],
    batch: int,
) -> None:
    snap = toy.view.now
    assert snap is not None
    work = Work(key)
    work.row = online_row(key, event_us=instants[0])
    work.now_us = NOW
    work.inputs, work.batch, work.answer = inputs, batch, {"churn": 0.5}
    status = 503 if action == "refuse" else 200
    reason = "" if action == "answer" else "on_warn"
    work.judged = Judgement(action, Verdict.WARN, sentence, reason, status, instants[1], instants[2], None)  # type: ignore[arg-type]
    written = msgspec.msgpack.decode(payload("r1", snap, work, CALL, 17), type=Receipt)
    record = msgspec.msgpack.encode(receipt_of("r1", snap, work, CALL, 17))
    assert written == msgspec.msgpack.decode(record, type=Receipt)


@pytest.mark.parametrize("names", [("a", "b c"), ('say "x"', "b"), ("tab\t", "b"), ("f1", "f0"), ("ä", "")])
def test_inputs_are_packed_under_whatever_names_columns_have(names: tuple[str, ...]) -> None:
    fields = tuple(Field(name=name, type="number") for name in names)
    plan = InputPlan(Signature(inputs=fields, outputs=()), [(name, "number") for name in names])
    for values in ([1.5, None], ["x", True]):
        packed = msgspec.msgpack.decode(msgspec.msgpack.encode(plan.packed(values)))
        assert packed == plan.recorded(values) == dict(zip(names, values, strict=True))


def test_rows_that_were_asked_together_are_marked(tmp_path: Path) -> None:
    toy = Toy(tmp_path, blocking=True)
    toy.rows(online_row("C"))
    snap = toy.view.now
    assert snap is not None
    asyncio.run(toy.desk.answering.predict(snap, read_predict(b'{"keys":["A","C"]}'), CALL))
    assert [receipt.batch for receipt in toy.receipts()] == [2, 2]
    toy.close()
