from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mainstay.core.errors import NotFound
from mainstay.core.records import Event
from mainstay.serving.answer import Answering
from mainstay.serving.request import BadRequest, DecisionRequest, OutcomeRequest, read_predict
from tests.serving.toy import CALL, Toy


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    made = Toy(tmp_path)
    yield made
    made.close()


def receipt(toy: Toy) -> str:
    snap = toy.view.now
    assert snap is not None
    answering: Answering = toy.desk.answering
    reply = answering.predict_now(snap, read_predict(b'{"key":"A"}'), CALL)
    return str(getattr(reply, "receipt", ""))


def event(toy: Toy, id: str) -> Event:
    entry = toy.journal.get(id)
    assert entry is not None
    return msgspec.msgpack.decode(entry.payload, type=Event)


def test_a_decision_is_tied_to_its_receipt(toy: Toy) -> None:
    given = receipt(toy)
    said = toy.desk.feedback.decide(DecisionRequest(given, "overridden", "called last week", "j.doe"), "k1")
    stored = event(toy, said.event)
    assert (stored.kind, stored.receipt, stored.by) == ("decision", given, "j.doe")
    assert stored.body["reason"] == "called last week"


def test_an_outcome_keeps_what_came_true_and_when(toy: Toy) -> None:
    given = receipt(toy)
    said = toy.desk.feedback.come_true(
        OutcomeRequest(given, outcome=True, observed_at="1970-01-01T01:00:00+01:00"), "k1"
    )
    stored = event(toy, said.event)
    assert (stored.kind, stored.body["outcome"], stored.body["observed_us"]) == ("outcome", True, 0)


def test_the_same_id_is_recorded_once(toy: Toy) -> None:
    request = DecisionRequest(receipt(toy), "accepted", id="d-1")
    first = toy.desk.feedback.decide(request, "k1")
    again = toy.desk.feedback.decide(request, "k1")
    assert (again.event, again.repeated) == (first.event, True)
    other = toy.desk.feedback.decide(DecisionRequest(request.receipt, "accepted", id="d-2"), "k1")
    assert other.event != first.event


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        (DecisionRequest("r", "shrugged"), "decision"),
        (DecisionRequest("r", "overridden", " "), "reason"),
        (DecisionRequest("r", "accepted", "x" * 3000), "reason"),
    ],
)
def test_a_wrong_decision_names_its_field(toy: Toy, request_: DecisionRequest, where: str) -> None:
    with pytest.raises(BadRequest) as caught:
        toy.desk.feedback.decide(request_, "k1")
    assert caught.value.where == where


@pytest.mark.parametrize("observed", ["yesterday", "2026-01-01T00:00:00"])
def test_an_instant_without_its_offset_is_refused(toy: Toy, observed: str) -> None:
    with pytest.raises(BadRequest, match="observed_at"):
        toy.desk.feedback.come_true(OutcomeRequest("r", outcome=1, observed_at=observed), "k1")


def test_a_receipt_that_is_not_ours_is_not_found(toy: Toy) -> None:
    given = receipt(toy)
    made_up = given[:-1] + ("a" if given[-1] != "a" else "b")
    said = toy.desk.feedback.decide(DecisionRequest(given, "accepted"), "k1")
    for wrong in (made_up, "nonsense", said.event):
        with pytest.raises(NotFound):
            toy.desk.feedback.decide(DecisionRequest(wrong, "accepted"), "k1")


def test_a_number_that_no_journal_can_hold_is_refused(toy: Toy) -> None:
    with pytest.raises(BadRequest, match="64 bits"):
        toy.desk.feedback.come_true(OutcomeRequest(receipt(toy), outcome=10**30), "k1")
