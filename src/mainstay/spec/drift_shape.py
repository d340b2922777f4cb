"""The shape of `schema_drift:`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mainstay.spec.part import Part


class SchemaDriftPart(Part):
    added: Literal["warn", "ignore"] = Field(default="warn", description="A column came that is not read.")
    lost: Literal["block", "as_null"] = Field(
        default="block", description="A column went that is not required; as_null: it is read as NULL, with WARN."
    )
    widened: Literal["accept", "block"] = Field(
        default="accept", description="A type holds all that it held, and more: int4 to int8, varchar to text."
    )
    nullable: Literal["warn", "ignore"] = Field(default="warn", description="A required column may be NULL there now.")
