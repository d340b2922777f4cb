"""`retired:`: this version of the API goes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from mainstay.core import nouns
from mainstay.core.clock import SECOND
from mainstay.spec.faults import Faults, shown
from mainstay.spec.part import Part
from mainstay.spec.plain import text
from mainstay.spec.values import IsoDate, Link, is_date


class RetiredPart(Part):
    on: IsoDate = Field(description="From this day (UTC) on nothing new should be built on this API version.")
    sunset: IsoDate | None = Field(
        default=None, description="From this day (UTC) on it answers 410; not before `on`.", examples=["2027-03-01"]
    )
    successor: Link = Field(description="Where the next version answers.")
    link: Link | None = Field(
        default=None,
        description="A page that says why and how to go on.",
        examples=["https://wiki.example.com/churn-2"],
    )


def built(part: RetiredPart | None) -> nouns.Retired | None:
    """The noun."""
    if part is None:
        return None
    return nouns.Retired(
        on_us=_midnight(part.on),
        sunset_us=None if part.sunset is None else _midnight(part.sunset),
        successor=part.successor,
        link=part.link or "",
    )


def cross_check_retired(said: dict[str, Any], faults: Faults) -> None:
    """The sunset is not before the day from which it is retired."""
    since, sunset = text(said.get("on")), text(said.get("sunset"))
    if is_date(since) and is_date(sunset) and sunset < since:
        faults.at(("retired", "sunset"), f"a day not before `on`, {since}", shown(sunset), "write a later day")


def _midnight(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * SECOND
