"""Asking the two APIs, and saying in one line what they said."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Said:
    """What an API said. `status` 0: nobody answered, and `problem` says why."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def probability(self) -> float | None:
        """The churn probability, whichever of the two APIs gave it; None when there is none."""
        value = self.body.get("output", self.body)
        number = value.get("churn_probability") if isinstance(value, Mapping) else None
        return float(number) if isinstance(number, int | float) else None

    @property
    def receipt(self) -> str:
        return str(self.body.get("receipt") or "")

    @property
    def sentence(self) -> str:
        """Why, in the API's own words; empty when it does not say."""
        return str(self.body.get("sentence") or self.body.get("detail") or self.problem)

    @property
    def line(self) -> str:
        """`0.31, HTTP 200` or `refused, ..., HTTP 503`, with what the answer says of its own age."""
        if not self.status:
            return f"no answer: {self.problem}"
        if self.probability is None:
            return f"refused: {self.sentence or 'no reason given'} (HTTP {self.status})"
        text = f"{self.probability:.2f}, HTTP {self.status}"
        age, verdict = self.body.get("age_seconds"), self.body.get("verdict")
        if isinstance(age, int | float):
            text += f", data {age:.1f} s old"
        if verdict:
            text += f", {verdict}"
        if verdict not in (None, "PASS") and self.sentence:
            text += f": {self.sentence}"
        return text


def ask(
    url: str, body: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None, timeout_s: float = 5.0
) -> Said:
    """GETs `url`, or POSTs `body` as JSON to it. Never raises for what the other side does."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - loopback
            return Said(response.status, _read(response.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Said(error.code, _read(error.read()))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return Said(0, problem=str(getattr(reason, "strerror", None) or reason or type(error).__name__).lower())


def _read(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {"value": value}
