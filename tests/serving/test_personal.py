"""What a receipt shows to those who may not see who somebody is."""

from __future__ import annotations

import pytest

from mainstay.core.records import Receipt
from mainstay.core.verdicts import Verdict
from mainstay.serving.personal import Personal
from tests.serving.toy import integration

RECEIPT = Receipt(
    id="r", at_us=1, integration="churn", api=1, key="C1", caller="c", request="q", outcome="answered", status=200,
    verdict=Verdict.PASS, inputs={"tenure": 3}, output={"churn": 0.5}, version=1,
)  # fmt: skip


@pytest.mark.parametrize(("personal", "shown"), [(Personal(None), False), (Personal(integration()), True)])
def test_where_nothing_is_known_of_a_file_everything_may_be_personal(personal: Personal, shown: bool) -> None:
    told = personal.receipt(RECEIPT)
    assert (told["key"] is not None, told["inputs"]["tenure"] is not None) == (shown, shown)
    assert told.get("masked", []) == ([] if shown else ["key", "tenure"])


def test_whoever_may_see_everything_does() -> None:
    assert Personal(None, whole=True).receipt(RECEIPT)["key"] == "C1"
