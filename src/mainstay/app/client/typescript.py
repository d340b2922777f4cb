"""The parts of a TypeScript client that differ between API contracts."""

from __future__ import annotations

import json

from mainstay.app.client.shapes import Property, Shape, Shapes
from mainstay.app.client.telling import about
from mainstay.core.nouns import Field

_GIVEN = {
    "string": "string", "integer": "number", "number": "number", "boolean": "boolean", "date": "string",
    "timestamp": "string | number", "json": "string", "bytes": "string",
}  # fmt: skip
_KEYS = {"integer": "number | string", "boolean": "boolean"}
"""A number holds integers to 2^53; greater ones go as text."""
_INPUTS = {"none": ("", ""), "some": (", inputs?: Inputs", ", inputs"), "needed": (", inputs: Inputs", ", inputs")}
"""A parameter for request-time inputs, and what is sent of it."""


def parts(shapes: Shapes) -> dict[str, str]:
    """Types, and how a prediction is asked for."""
    asked, sent = _INPUTS[shapes.inputs]
    found = [_interface(one) for one in shapes.objects]
    if shapes.key is not None:
        found.append(f"/** {shapes.key_about} */\nexport type Key = {_key(shapes.key)};")
    return {
        "TYPES": "\n\n".join(found),
        "INPUTS": asked,
        "SENT": sent,
        "KEY": json.dumps(shapes.example),
        "ASK": ", { ... }" if shapes.inputs == "needed" else "",
        "FEEDBACK": ' *     await client.decide(answer.receipt!, "overridden", { reason: "called last week" });\n',
    }


def _interface(shape: Shape) -> str:
    body = "".join(_property(one, shape) for one in shape.properties)
    return f"/** {shape.about} */\nexport interface {shape.name} {{\n{body}}}"


def _property(one: Property, shape: Shape) -> str:
    told, name = about(one.field).replace("*/", "* /"), json.dumps(one.field.name)
    said = f"  /** {told} */\n" if told else ""
    if shape.kind == "key":
        return f"{said}  {name}: {_KEYS.get(one.field.type, 'string')};\n"
    kind = " | ".join(json.dumps(each) for each in one.values) or _GIVEN[one.field.type]
    null = " | null" if one.optional or shape.kind == "given" else ""
    return f"{said}  {name}{'?' if one.optional else ''}: {kind}{null};\n"


def _key(field: Field) -> str:
    """A truth alone goes as its word; only as a column of an object it may go as itself."""
    return '"true" | "false"' if field.type == "boolean" else _KEYS.get(field.type, "string")
