"""The shape of a request-time input that is a picture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mainstay.spec.part import Part

_Side = Annotated[int, Field(ge=1, le=8_192)]


class ImagePart(Part):
    size: list[_Side] = Field(
        min_length=2, max_length=2, description="Width and height that the model eats.", examples=[[224, 224]]
    )
    mode: Literal["RGB", "L"] = Field(default="RGB", description="Colours, or greys.")
    layout: Literal["chw", "hwc"] = Field(default="chw", description="Channels first, or last.")
    fit: Literal["stretch", "crop"] = Field(
        default="stretch", description="How a picture of another form gets the size; `crop` cuts the middle out."
    )
    resample: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    scale: float = Field(default=255.0, gt=0, description="What each value of 0 to 255 is divided by.")
    mean: list[float] = Field(
        default=[], description="Taken off then, one for each channel.", examples=[[0.485, 0.456, 0.406]]
    )
    std: list[float] = Field(
        default=[], description="Divides then, one for each channel.", examples=[[0.229, 0.224, 0.225]]
    )
    formats: list[Literal["png", "jpeg", "webp"]] = Field(
        default=["png", "jpeg", "webp"], min_length=1, description="The formats taken."
    )
    max_bytes: int = Field(default=750_000, ge=1, description="Bytes of a picture at most.")
    max_pixels: int = Field(
        default=16_000_000, ge=1, le=89_000_000, description="Pixels at most, by its header, before it is decoded."
    )
