"""What every runtime's `LoadedModel` must do. Run each function of `RUNTIME_SUITE` with a case of the runtime.

```python
@pytest.mark.parametrize("check", RUNTIME_SUITE)
def test_my_runtime(check):
    check(RuntimeCase(load=lambda: MyRuntime().load(file, signature, {}), signature=signature, rows=rows))
```
"""

# ruff: noqa: D103 - the name of a check is its sentence

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any

import msgspec

from mainstay.core.clock import SystemClock
from mainstay.core.errors import ModelError, ModelRefused, ModelTimeout
from mainstay.core.nouns import Signature
from mainstay.core.ports import LoadedModel, Row
from mainstay.models.batches import answers


class RuntimeCase(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the runtime, loaded anew at each call of `load`."""

    load: Callable[[], LoadedModel]
    signature: Signature
    rows: Sequence[Row]
    """A few rows that the model answers, the first without any null."""
    varies: bool = True
    """Whether different rows get different answers (a constant's do not)."""
    refused: Sequence[Row] = ()
    """Rows that this model must refuse: a null in a required input, a category that it is closed to, a wrong type."""


def one_answer_for_each_row_in_order(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        together = answers(model, case.rows)
        alone = [model.predict([row])[0] for row in case.rows]
        assert len(together) == len(case.rows)
        assert all(map(_close, together, alone)), "a row's answer does not depend on its neighbours"
        assert all(map(_close, answers(model, case.rows[::-1]), together[::-1])), "answers follow the rows' order"
        if case.varies:
            assert len(set(together)) > 1, "the case's rows must not all have the same answer"


def answers_have_the_signatures_width_and_types(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        for answer in answers(model, case.rows):
            assert len(answer) == len(case.signature.outputs)
            for value, field in zip(answer, case.signature.outputs, strict=True):
                wanted = {"number": float, "integer": int, "boolean": bool}.get(field.type, str)
                assert value is None or type(value) is wanted, f"{field.name} is a {type(value).__name__}"


def an_empty_batch_has_no_answers(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        assert model.predict([]) == []


def a_thousand_rows_are_answered_as_many_at_once_as_it_says(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        few = answers(model, case.rows)
        times = 1000 // len(case.rows) + 1
        many = answers(model, [*case.rows] * times)
        assert all(map(_close, many, few * times))


def the_same_row_has_the_same_answer_to_the_last_bit(case: RuntimeCase) -> None:
    with closing(case.load()) as model, closing(case.load()) as other:
        first = model.predict([case.rows[0]])
        assert repr(model.predict([case.rows[0]])) == repr(first)
        assert repr(other.predict([case.rows[0]])) == repr(first)


def a_row_of_another_width_is_refused(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        _raises(ModelRefused, lambda: model.predict([(*case.rows[0], 1)]))
        if case.signature.inputs:
            _raises(ModelRefused, lambda: answers(model, [case.rows[0], case.rows[0][:-1]]))
        assert len(model.predict([case.rows[0]])) == 1, "a refusal leaves the model usable"


def nulls_are_answered_or_refused_by_name(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        for place, field in enumerate(case.signature.inputs):
            row = (*case.rows[0][:place], None, *case.rows[0][place + 1 :])
            refusal = _refusal(model, row)
            if field.required:
                assert refusal is not None, f"{field.name} is required, and a null was answered"
                assert field.name in str(refusal)


def a_category_never_seen_is_answered_or_refused(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        for place, field in enumerate(case.signature.inputs):
            if field.type == "string":
                row = (*case.rows[0][:place], "never seen before", *case.rows[0][place + 1 :])
                assert "never seen before" not in str(_refusal(model, row)), "an error names no value"


def what_must_be_refused_is_refused_without_naming_a_value(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        for row in case.refused:
            error = _raises(ModelRefused, partial(model.predict, [row]))
            told = [value for value in row if isinstance(value, str) and len(value) > 3 and value in str(error)]
            assert not told, "an error names no value"


def threads_share_a_model(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        wanted = answers(model, case.rows)
        wrong: list[Any] = []

        def ask() -> None:
            for _ in range(5):
                try:
                    given = answers(model, case.rows)
                except ModelError as error:
                    wrong.append(error)
                    continue
                if not all(map(_close, given, wanted)):
                    wrong.append(given)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, wrong[:1]


def a_deadline_that_has_passed_gives_an_answer_or_a_timeout(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        past_us = SystemClock().monotonic_us() - 1
        late = []
        with suppress(ModelTimeout):
            late = model.predict([case.rows[0]], deadline_us=past_us)
        assert not (late and model.capabilities.blocking), "who waits for another process keeps deadlines"
        began = time.monotonic()
        far_us = SystemClock().monotonic_us() + 60_000_000
        assert len(model.predict([case.rows[0]], deadline_us=far_us)) == 1, "one late request harms no other"
        assert time.monotonic() - began < 60


def it_names_what_computes_the_answer(case: RuntimeCase) -> None:
    with closing(case.load()) as model:
        model.predict([case.rows[0]])
        assert model.present(), "what has just answered is there"
        assert model.build
        assert model.capabilities.batch > 0


def closing_twice_is_harmless(case: RuntimeCase) -> None:
    model = case.load()
    model.close()
    model.close()


def _close(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Equal, but for what float32 arithmetic in another order of rows may change."""
    for left, right in zip(one, other, strict=True):
        if isinstance(left, float) and isinstance(right, float):
            if abs(left - right) > 1e-6:
                return False
        elif left != right:
            return False
    return True


def _refusal(model: LoadedModel, row: Row) -> ModelRefused | None:
    """None when the row is answered."""
    try:
        assert len(model.predict([row])) == 1
    except ModelRefused as error:
        return error
    return None


def _raises(kind: type[ModelError], act: Callable[[], object]) -> ModelError:
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"nothing raised {kind.__name__}")


RUNTIME_SUITE: tuple[Callable[[RuntimeCase], None], ...] = (
    one_answer_for_each_row_in_order,
    answers_have_the_signatures_width_and_types,
    an_empty_batch_has_no_answers,
    a_thousand_rows_are_answered_as_many_at_once_as_it_says,
    the_same_row_has_the_same_answer_to_the_last_bit,
    a_row_of_another_width_is_refused,
    nulls_are_answered_or_refused_by_name,
    a_category_never_seen_is_answered_or_refused,
    what_must_be_refused_is_refused_without_naming_a_value,
    threads_share_a_model,
    a_deadline_that_has_passed_gives_an_answer_or_a_timeout,
    it_names_what_computes_the_answer,
    closing_twice_is_harmless,
)
