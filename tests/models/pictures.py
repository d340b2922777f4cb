"""Pictures, and graphs that eat them."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(
    kind: str = "PNG", size: tuple[int, int] = (8, 6), mode: str = "RGB", seed: int = 0, **options: Any
) -> bytes:
    """Noise of that size."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    made = Image.fromarray(noise if channels > 1 else noise[:, :, 0], mode if channels > 1 else None)
    into = io.BytesIO()
    made.save(into, kind, **options)
    return into.getvalue()


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few hundred bytes that would unfold to gigabytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def graph(file: Path, size: tuple[int, int] = (4, 4), *, rows: int | None = None, whole: bool = False) -> Path:
    """A graph of two outputs over pictures `[rows, 3, height, width]`: their mean and their greatest value."""
    from onnx import TensorProto, helper, save

    kind = TensorProto.UINT8 if whole else TensorProto.FLOAT
    given = helper.make_tensor_value_info("pixels", kind, [rows, 3, size[1], size[0]])
    outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows]) for name in ("mean", "most")]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["x"], ["most"], axes=[1, 2, 3], keepdims=0),
    ]
    made = helper.make_graph(nodes, "g", [given], outs)
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def texts_graph(file: Path) -> Path:
    """A graph of two outputs over a text: whether it is the word `urgent`, and the text itself."""
    from onnx import TensorProto, helper, save

    given = helper.make_tensor_value_info("body", TensorProto.STRING, [None, 1])
    outs = [
        helper.make_tensor_value_info("urgent", TensorProto.FLOAT, [None, 1]),
        helper.make_tensor_value_info("echo", TensorProto.STRING, [None, 1]),
    ]
    encoder = helper.make_node(
        "LabelEncoder", ["body"], ["urgent"], domain="ai.onnx.ml", keys_strings=["urgent"], values_floats=[1.0],
        default_float=0.25,
    )  # fmt: skip
    nodes = [encoder, helper.make_node("Identity", ["body"], ["echo"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    save(helper.make_model(helper.make_graph(nodes, "g", [given], outs), opset_imports=opsets, ir_version=8), file)
    return file
