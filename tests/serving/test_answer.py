from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.core.clock import HOUR, MINUTE, SECOND
from mainstay.core.errors import Corrupt, StoreError
from mainstay.core.nouns import Field, Limits, ModelConfig, Signature
from mainstay.core.ports import Write
from mainstay.core.verdicts import Verdict
from mainstay.serving.answer import NotReady
from mainstay.serving.asking import ask_together
from mainstay.serving.bounds import bound_of
from mainstay.serving.hot_rows import HotRows
from mainstay.serving.inputs import InputPlan
from mainstay.serving.judge import rejudge
from mainstay.serving.model_queue import TooLate
from mainstay.serving.reply import Answer, Batch, Refusal
from mainstay.serving.request import BadRequest, read_predict
from mainstay.serving.work import Work
from tests.serving.toy import CALL, NOW, SET, SIGNATURE, Linear, Toy, online_row


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    made = Toy(tmp_path)
    yield made
    made.close()


def ask(toy: Toy, **body: Any) -> Answer | Refusal | Batch:
    snap = toy.view.now
    assert snap is not None
    return toy.desk.answering.predict_now(snap, read_predict(json.dumps(body).encode()), CALL)


def answer(toy: Toy, **body: Any) -> Answer:
    reply = ask(toy, **body)
    assert isinstance(reply, Answer), reply
    return reply


def refusal(toy: Toy, **body: Any) -> Refusal:
    reply = ask(toy, **body)
    assert isinstance(reply, Refusal), reply
    return reply


def test_an_answer_says_where_it_comes_from(toy: Toy) -> None:
    reply = answer(toy, key="A")
    assert reply.output == {"churn": pytest.approx(0.17)}
    assert (reply.model_version, reply.verdict, reply.degraded, reply.reason) == (1, Verdict.PASS, False, "")
    assert (reply.as_of, reply.age_seconds) == ("2027-01-15T07:59:50.000000Z", 10.0)


@pytest.mark.promise(2)
def test_a_receipt_holds_all_that_the_answer_needs_to_be_given_again(toy: Toy) -> None:
    reply = answer(toy, key="A")
    receipt = toy.receipt(reply.receipt)
    assert receipt.id == reply.receipt
    assert receipt.inputs == {"tenure": 12, "charges": 50.0, "contract": "Two year"}
    assert (receipt.key, receipt.caller, receipt.request, receipt.outcome) == ("A", "caller", "req-1", "answered")
    assert (receipt.feature_set, receipt.plan, receipt.positions) == (SET, 7, {"customers": [3, 17]})
    assert (receipt.version, receipt.artifact, receipt.build) == (1, "sha256:1", "linear 1")
    assert (receipt.as_of_us, receipt.age_us, receipt.output) == (NOW - 10 * SECOND, 10 * SECOND, reply.output)
    assert receipt.policy == {}


@pytest.mark.promise(2)
def test_every_judged_key_has_a_receipt_and_refusals_can_be_judged_again(toy: Toy) -> None:
    toy.rows(online_row("held", held=True, values=None, sentence="tenure.max: 900 is above 120"))
    for key, status in (("nobody", 404), ("held", 409)):
        reply = refusal(toy, key=key)
        receipt = toy.receipt(reply.receipt)
        assert (reply.status, receipt.status, receipt.outcome, receipt.reason) == (
            status,
            status,
            "refused",
            reply.reason,
        )
        judged = rejudge(receipt.policy)
        assert (judged.status, judged.verdict, judged.sentence) == (status, receipt.verdict, receipt.sentence)


def test_every_key_of_many_is_judged_alone_and_a_poisoned_one_fails_alone(toy: Toy) -> None:
    toy.rows(online_row("C", values=b'[100,0,"One year"]'))
    reply = ask(toy, keys=["A", "B", "nobody", "C", "A"])
    assert isinstance(reply, Batch)
    assert [each.status for each in reply.results] == [200, 200, 404, 200, 200]
    assert [each.key for each in reply.results] == ["A", "B", "nobody", "C", "A"]
    assert [each.reason for each in reply.results] == ["", "on_error", "on_missing", "", ""]
    assert reply.results[3].output == {"churn": 1.0}
    assert len(toy.receipts()) == 5
    assert len({each.receipt for each in reply.results}) == 5


def test_a_poisoned_key_falls_back_and_says_so(toy: Toy) -> None:
    reply = answer(toy, key="B")
    assert (reply.output, reply.degraded, reply.reason, reply.verdict) == (
        {"churn": 0.26},
        True,
        "on_error",
        Verdict.ERROR,
    )
    assert reply.sentence == "an unknown category; answered with the fallback (base rate)"
    receipt = toy.receipt(reply.receipt)
    assert (receipt.outcome, receipt.inputs) == ("fallback", {"tenure": 1, "charges": None, "contract": "poison"})
    assert rejudge(receipt.policy).action == "fallback"


@pytest.mark.parametrize("mood", ["away", "late", "broken", "nan"])
def test_a_model_that_fails_is_answered_by_the_policy(toy: Toy, mood: str) -> None:
    toy.model.mood = mood
    toy.policy(on_error="refuse")
    reply = refusal(toy, key="A")
    assert (reply.status, reply.reason, reply.verdict) == (503, "on_error", Verdict.ERROR)
    assert reply.retry_after
    assert "4711" not in reply.sentence


@pytest.mark.parametrize(
    ("given", "status"), [("/wA=", 200), ("", 200), ("text", 200), ("texts", 503), ("ü", 503), (7, 503)]
)
def test_bytes_that_are_no_base64_are_no_answer(toy: Toy, given: Any, status: int) -> None:
    toy.models[2] = model = Linear()
    toy.version(2, Signature(inputs=SIGNATURE.inputs, outputs=(Field(name="photo", type="bytes"),)))
    model.predict = lambda rows, deadline_us=None: [(given,) for _ in rows]  # type: ignore[method-assign, misc]
    toy.policy(on_error="refuse")
    if status == 200:
        assert answer(toy, key="A").output == {"photo": given}
    else:
        reply = refusal(toy, key="A")
        assert (reply.status, reply.sentence) == (status, "the model gave no bytes in base64 for `photo`")


@pytest.mark.promise(5)
def test_the_age_is_that_of_the_moment_with_nothing_else_running(toy: Toy) -> None:
    toy.clock.advance(6 * MINUTE)
    flagged = answer(toy, key="A")
    assert (flagged.degraded, flagged.reason, flagged.age_seconds) == (True, "on_warn", 370.0)
    toy.clock.advance(HOUR)
    assert refusal(toy, key="A").status == 503


@pytest.mark.promise(5)
def test_a_row_that_expires_while_the_model_works_is_not_answered(toy: Toy) -> None:
    class Slow(Linear):
        def predict(self, rows: Any, *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
            toy.clock.advance(2 * HOUR)
            return super().predict(rows, deadline_us=deadline_us)

    toy.models[2] = Slow()
    toy.version(2)
    assert refusal(toy, key="A").reason == "on_stale"


def test_a_clock_that_went_back_is_not_trusted(toy: Toy) -> None:
    toy.clock.set_wall(NOW - HOUR)
    reply = refusal(toy, key="A")
    assert (reply.reason, reply.verdict) == ("on_stale", Verdict.UNKNOWN)


def test_rows_are_validated_by_the_signature_and_answered_as_unknown(toy: Toy) -> None:
    reply = ask(toy, rows=[{"tenure": 5, "charges": 10, "contract": "x"}, {}])
    assert isinstance(reply, Batch)
    assert [each.output for each in reply.results] == [{"churn": pytest.approx(0.06)}, {"churn": 0.0}]
    assert {each.verdict for each in reply.results} == {Verdict.UNKNOWN}
    receipt = toy.receipt(reply.results[0].receipt)
    assert (receipt.key, receipt.feature_set, receipt.age_us) == (None, "", None)
    assert receipt.inputs == {"tenure": 5, "charges": 10.0, "contract": "x"}


@pytest.mark.parametrize(
    ("row", "where", "words"),
    [
        ({"tenure": "5"}, "rows[0].tenure", "wanted an integer, found a string"),
        ({"tenure": True}, "rows[0].tenure", "wanted an integer, found a boolean"),
        ({"tenure": 1.5}, "rows[0].tenure", "wanted an integer, found a number with a fraction"),
        ({"tenur": 5}, "rows[0].tenur", "unknown field"),
    ],
)
def test_a_wrong_row_names_the_field(toy: Toy, row: dict[str, Any], where: str, words: str) -> None:
    with pytest.raises(BadRequest, match=r"found|unknown") as caught:
        ask(toy, rows=[row])
    assert (caught.value.where, caught.value.status) == (where, 422)
    assert words in caught.value.sentence
    assert toy.receipts() == []


def test_an_unknown_field_of_a_row_is_met_with_its_close_match(toy: Toy) -> None:
    with pytest.raises(BadRequest) as caught:
        ask(toy, rows=[{"tenur": 5}])
    assert caught.value.mend == "did you mean `tenure`?"


def test_request_inputs_go_beside_the_key_where_the_file_allows_them(tmp_path: Path) -> None:
    asked = Field(name="charges", type="number", required=True)
    toy = Toy(tmp_path, model=ModelConfig(name="churn", input="customer", request_inputs=(asked,)))
    assert answer(toy, key="A", inputs={"charges": 100}).output == {"churn": pytest.approx(0.22)}
    for inputs, where in (
        ({"tenure": 3}, "inputs.tenure"),
        ({"charges": "x"}, "inputs.charges"),
        ({}, "inputs.charges"),
        (None, "inputs.charges"),
    ):
        with pytest.raises(BadRequest) as caught:
            ask(toy, key="A", inputs=inputs)
        assert caught.value.where == where
    toy.close()


def test_a_request_input_outside_its_limits_is_refused_by_key_and_by_row(tmp_path: Path) -> None:
    asked = (
        Field(name="charges", type="number", required=True, minimum=0, maximum=500),
        Field(name="contract", type="string", limits=Limits(values=("One year",), shortest=2, longest=9)),
        Field(name="note", type="string", limits=Limits(pattern="[a-z]+")),
    )
    toy = Toy(tmp_path, model=ModelConfig(name="churn", input="customer", request_inputs=asked))
    fine = {"charges": 500.0, "contract": "One year", "note": "ab"}
    assert answer(toy, key="A", inputs=fine).output == {"churn": pytest.approx(0.62)}
    for name, value, wanted in (
        ("charges", 500.5, "a number of at least 0 and at most 500"),
        ("charges", "NaN", "a number of at least 0 and at most 500"),
        ("charges", "-Infinity", "a number of at least 0 and at most 500"),
        ("contract", "x", "2 characters at least"),
        ("contract", "Ten years.", "9 characters at most"),
        ("contract", "Two years", "one of One year"),
        ("note", "ab\n", "a text that matches"),
    ):
        for sent, where in (
            ({"key": "A", "inputs": {**fine, name: value}}, f"inputs.{name}"),
            ({"rows": [fine, {**fine, name: value}]}, f"rows[1].{name}"),
        ):
            with pytest.raises(BadRequest, match=wanted) as caught:
                ask(toy, **sent)
            assert caught.value.where == where
    with pytest.raises(BadRequest, match=r"`rows\[0\].charges` is missing"):
        ask(toy, rows=[{"tenure": 3}])
    toy.close()


@pytest.mark.timeout(60)
def test_no_text_keeps_a_worker_with_a_pattern(tmp_path: Path) -> None:
    words = Field(name="note", type="string", limits=Limits(pattern="(?i)([a-z0-9]+[ -]?)*", longest=1_000))
    toy = Toy(tmp_path, model=ModelConfig(name="churn", input="customer", request_inputs=(words,)))
    with pytest.raises(BadRequest, match="a text that matches"):
        ask(toy, key="A", inputs={"note": "a" * 900 + "!"})
    answer(toy, key="A", inputs={"note": "ONE two-3"})
    toy.close()


@pytest.mark.parametrize("pattern", [r"\d{2}", r"[0-9]{2}", r"(\d\d)", r"\d+"])
def test_a_pattern_means_what_re2_says_of_it(pattern: str) -> None:
    bound = bound_of(Field(name="note", type="string", limits=Limits(pattern=pattern)))
    assert bound is not None
    bound("12", "note")
    for other in ("\u0661\u0662", "12\n", "x12", ""):
        with pytest.raises(BadRequest):
            bound(other, "note")


def test_a_whole_number_may_be_written_with_a_fraction_of_zero(toy: Toy) -> None:
    said = ask(toy, rows=[{"tenure": 3.0}])
    assert isinstance(said, Batch)
    assert said.results[0].output == {"churn": pytest.approx(0.03)}
    with pytest.raises(BadRequest, match="found a number with a fraction"):
        ask(toy, rows=[{"tenure": 3.5}])


def test_inputs_beside_a_key_are_refused_where_the_file_names_none(toy: Toy) -> None:
    with pytest.raises(BadRequest, match="unknown field"):
        ask(toy, key="A", inputs={"tenure": 3})


def test_numbers_that_are_not_finite_arrive_as_the_model_knows_them(toy: Toy) -> None:
    toy.rows(online_row("I", values=b'[0,"-Infinity","x"]'))
    assert toy.receipt(answer(toy, key="I").receipt).inputs == {"tenure": 0, "charges": float("-inf"), "contract": "x"}


def test_keys_have_the_type_of_the_feature_sets_key(toy: Toy) -> None:
    with pytest.raises(BadRequest, match="wanted a string, found an integer"):
        ask(toy, key=17)
    toy.put("feature_set", SET, Toy.feature_set(key_type="integer"))
    toy.view.refresh()
    toy.rows(online_row("17"))
    assert answer(toy, key=17).output == answer(toy, key="017").output
    with pytest.raises(BadRequest, match="wanted an integer, found a string"):
        ask(toy, keys=[17, "x"])


def test_without_a_receipt_no_answer_unless_the_file_says_so(toy: Toy) -> None:
    folder = toy.folder / "journal"
    folder.write_bytes(b"a file where the folder was")
    reply = refusal(toy, key="A")
    assert (reply.status, reply.reason, reply.receipt) == (503, "no_receipt", None)
    toy.settings(without_receipt="answer")
    given = answer(toy, key="A")
    assert (given.receipt, given.output) == (None, {"churn": pytest.approx(0.17)})
    assert "the journal cannot be written" in " ".join(toy.desk.not_ready())
    folder.unlink()
    assert toy.desk.not_ready() == ()
    assert answer(toy, key="A").receipt


class Unreadable:
    """An online store whose file is damaged."""

    def get(self, feature_set: str, key: str) -> Any:
        raise StoreError("damaged")

    def changed(self) -> int:
        raise StoreError("damaged")

    def get_many(self, feature_set: str, keys: Any) -> Any:
        raise StoreError("damaged")


def test_a_store_that_cannot_be_read_is_an_error_not_a_missing_row(toy: Toy) -> None:
    toy.desk.answering._rows = HotRows(Unreadable())  # type: ignore[arg-type]
    reply = refusal(toy, key="A")
    assert (reply.status, reply.verdict, reply.reason) == (503, Verdict.ERROR, "on_stale")
    many = ask(toy, keys=["A", "B"])
    assert isinstance(many, Batch)
    assert [each.status for each in many.results] == [503, 503]


class Torn:
    """An online store with one row that is damaged."""

    def __init__(self, online: Any) -> None:
        self._online = online
        self.asked: list[list[str]] = []

    def changed(self) -> None:
        return None

    def get_many(self, feature_set: str, keys: Any) -> Any:
        self.asked.append(list(keys))
        if "B" in keys:
            raise Corrupt("damaged")
        return self._online.get_many(feature_set, keys)


def test_a_damaged_row_is_an_error_for_whoever_asks_for_it_alone(toy: Toy) -> None:
    snap, answering = toy.view.now, toy.desk.answering
    assert snap is not None
    torn = Torn(toy.online)
    answering._rows = HotRows(torn)  # type: ignore[arg-type]
    asked = [(read_predict(b'{"key": "%b"}' % key), CALL) for key in (b"A", b"B", b"A")]
    told = [isinstance(one, Answer) for one in answering.predict_each(snap, asked)]
    assert told == [True, False, True]
    many = ask(toy, keys=["A", "B"])
    assert isinstance(many, Batch)
    assert [each.status for each in many.results] == [200, 503]
    assert torn.asked == [["A", "B", "A"], ["A"], ["B"], ["A"], ["A", "B"], ["A"], ["B"]]


def test_a_row_that_was_laid_out_for_another_model_is_read_again(toy: Toy) -> None:
    snap, answering = toy.view.now, toy.desk.answering
    assert snap is not None
    strange = Field(name="other", type="number")
    other = InputPlan(Signature(inputs=(*SIGNATURE.inputs[::-1], strange), outputs=()), [])
    asked = [other.one_row(body) for body in (b'{"rows":[{"tenure":5,"charges":10}]}', b'{"rows":[{"other":1}]}')]
    fits, unknown = answering.predict_each(snap, [(one, CALL) for one in asked if one is not None])
    assert isinstance(fits, Answer)
    assert fits.output == {"churn": pytest.approx(0.06)}
    assert isinstance(unknown, BadRequest)
    assert unknown.where == "rows[0].other"


def test_nothing_answers_before_a_version_is_chosen(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    toy.state.commit([Write(space="answering", name="champion", body=None)])
    toy.view.refresh()
    with pytest.raises(NotReady):
        ask(toy, key="A")
    assert "no model version answers yet" in toy.desk.not_ready()
    toy.close()


def test_a_worker_is_not_ready_while_its_models_process_starts_unless_a_fallback_answers(toy: Toy) -> None:
    toy.model.mood = "away"
    assert toy.file.fallback is not None
    assert toy.desk.not_ready() == ()
    toy.file = msgspec.structs.replace(toy.file, fallback=None)
    toy.reapply()
    assert toy.desk.not_ready() == ("the model's process is starting",)
    toy.model.mood = "fine"
    assert toy.desk.not_ready() == ()


def test_a_blocking_model_leaves_the_loop_to_others(tmp_path: Path) -> None:
    toy = Toy(tmp_path, blocking=True)
    toy.model.mood = "wait"

    async def story() -> tuple[Any, Any]:
        snap = toy.view.now
        assert snap is not None
        waiting = asyncio.create_task(toy.desk.answering.predict(snap, read_predict(b'{"key":"A"}'), CALL))
        await asyncio.to_thread(toy.model.began.wait, 10)
        refused = await toy.desk.answering.predict(snap, read_predict(b'{"key":"nobody"}'), CALL)
        toy.model.go_on.set()
        return refused, await waiting

    refused, answered = asyncio.run(story())
    assert isinstance(refused, Refusal)
    assert isinstance(answered, Answer)
    toy.close()


def test_a_hanging_model_is_given_up_at_its_deadline(tmp_path: Path) -> None:
    config = ModelConfig(name="churn", input="customer", timeout_us=1_000)
    toy = Toy(tmp_path, blocking=True, model=config)
    toy.model.mood = "wait"

    async def story() -> Any:
        snap = toy.view.now
        assert snap is not None
        return await toy.desk.answering.predict(snap, read_predict(b'{"keys":["A"]}'), CALL)

    reply = asyncio.run(story())
    toy.model.go_on.set()
    assert reply.results[0].reason == "on_error"
    toy.close()


def test_one_thousand_keys_are_each_asked_alone(toy: Toy) -> None:
    toy.rows(*(online_row(f"K{number}") for number in range(1000)))

    async def story() -> Any:
        snap = toy.view.now
        assert snap is not None
        body = json.dumps({"keys": [f"K{number}" for number in range(1000)]}).encode()
        return await toy.desk.answering.predict(snap, read_predict(body), CALL)

    reply = asyncio.run(story())
    assert {each.status for each in reply.results} == {200}
    assert toy.model.asked == [1] * 1000
    assert SIGNATURE.outputs[0].name in reply.results[0].output


def test_once_several_receipts_are_written_at_once_the_journal_works_again(toy: Toy) -> None:
    snap = toy.view.now
    assert snap is not None
    asked = [(read_predict(b'{"key": "A"}'), CALL)] * 2
    toy.desk.answering.journal_problem = "the disk is full"
    replies = toy.desk.answering.predict_each(snap, asked)
    assert all(isinstance(reply, Answer) and reply.receipt for reply in replies)
    assert toy.desk.answering.journal_problem == ""


@pytest.mark.parametrize("body", [{"key": "A"}, {"keys": ["A", "B"]}, {"rows": [{"tenure": 1}]}])
def test_a_caller_whose_time_is_over_is_not_answered(toy: Toy, body: dict[str, Any]) -> None:
    snap, answering = toy.view.now, toy.desk.answering
    assert snap is not None
    request, call = read_predict(json.dumps(body).encode()), msgspec.structs.replace(CALL, deadline_us=0)
    with pytest.raises(TooLate):
        asyncio.run(answering.predict(snap, request, call))
    if "keys" not in body:
        assert isinstance(answering.predict_each(snap, [(request, call)])[0], TooLate)
    assert toy.receipts() == []


@pytest.mark.timeout(20)
def test_nobody_waits_for_a_models_process_that_was_not_there(toy: Toy) -> None:
    snap = toy.view.now
    assert snap is not None
    works = [Work("A"), Work("B")]
    for work in works:
        work.inputs = [1, 2.0, "x"]
    toy.model.mood = "away"
    ask_together(snap, toy.model, [[work] for work in works], SECOND, toy.clock)  # by a clock that stands still
    assert toy.model.asked == [2]
    assert {work.error for work in works} == {"the model's process is being restarted"}
