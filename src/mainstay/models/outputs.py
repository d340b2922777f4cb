"""What an output of a model is: `--output churn_probability=predict_proba[Yes]:probability`."""

from __future__ import annotations

import re

import msgspec

from mainstay.core.errors import ModelRefused

GRAMMAR = "name=method[class]:unit"
_SHAPE = re.compile(r"(?P<name>[A-Za-z_][\w.-]*)=(?P<source>[^\[\]:=]+)(?:\[(?P<part>[^\]]*)\])?(?::(?P<unit>.*))?")


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One output as it was asked for. `source` is a method of the model, or a tensor of an ONNX graph."""

    name: str
    source: str
    part: str | None = None
    """The class as text, or the column of the tensor; None: the whole."""
    unit: str = ""

    def __str__(self) -> str:
        part = "" if self.part is None else f"[{self.part}]"
        return f"{self.name}={self.source}{part}" + (f":{self.unit}" if self.unit else "")


def parse_output(text: str) -> Output:
    """Raises ModelRefused for what is not of the form `name=method[class]:unit` (class and unit may be absent)."""
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        raise ModelRefused(
            f"--output wants {GRAMMAR}, and came as {text!r}",
            mend="--output churn_probability=predict_proba[Yes]:probability",
        )
    return Output(name=found["name"], source=found["source"].strip(), part=found["part"], unit=found["unit"] or "")


def parse_outputs(texts: tuple[str, ...]) -> tuple[Output, ...]:
    """Every output, their names all different."""
    outputs = tuple(map(parse_output, texts))
    names = [output.name for output in outputs]
    for name in names:
        if names.count(name) > 1:
            raise ModelRefused(f"two outputs are called {name}")
    return outputs
