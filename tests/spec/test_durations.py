from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.clock import DAY, HOUR, SECOND
from mainstay.spec import durations


@given(st.integers(min_value=0, max_value=durations.LONGEST // 1_000))
def test_a_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    assert durations.parse(durations.text(milliseconds * 1_000)) == milliseconds * 1_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", 500_000),
        ("10s", 10 * SECOND),
        ("5m", 300 * SECOND),
        ("24h", DAY),
        ("1d", DAY),
        ("0s", 0),
        (" 1h ", HOUR),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert durations.parse(text) == expected


@pytest.mark.parametrize(
    "value", [10, 1.5, "10", "10 s", "1h30m", "-5s", "s", "", "1w", True, None, [], "99999999d", "١s"]
)
def test_what_is_no_duration_is_refused_with_what_to_type(value: object) -> None:
    with pytest.raises(durations.DurationError) as caught:
        durations.parse(value)
    assert "write" in caught.value.mend or "say the unit" in caught.value.mend


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        duration = durations.parse(text)
    except durations.DurationError:
        return
    assert 0 <= duration <= durations.LONGEST
