from __future__ import annotations

from mainstay.models.runtimes.python_process import refusal_of


def test_an_artifact_that_cannot_be_opened_says_whose_interpreter_is_wanted() -> None:
    told = refusal_of({"op": "error", "code": "unreadable", "sentence": "No module named 'joblib'", "terminal": True})
    assert "No module named 'joblib'" in str(told)
    assert "--python PATH" in told.mend
