"""The same answer for every row: the integration runs before anybody has trained anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Signature
from mainstay.core.ports import LoadedModel, Row, RuntimeCapabilities
from mainstay.models.inputs import check_rows, required_of


class ConstantRuntime:
    """Options: `values`, output -> value, one for each output of the signature."""

    def load(self, artifact: Path | None, signature: Signature, options: Mapping[str, Any]) -> LoadedModel:  # noqa: ARG002
        values = options.get("values", {})
        wanted = [field.name for field in signature.outputs]
        if not isinstance(values, Mapping) or sorted(values) != sorted(wanted):
            raise ModelRefused(
                f"a constant needs a value for each of its outputs: {', '.join(wanted)}",
                mend="write one under `values:` for each",
            )
        return _Constant(signature, tuple(values[name] for name in wanted))


class _Constant:
    capabilities = RuntimeCapabilities(blocking=False)
    build = "constant"

    def __init__(self, signature: Signature, answer: tuple[Any, ...]) -> None:
        self._width = len(signature.inputs)
        self._required = required_of(signature)
        self._answer = answer

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:  # noqa: ARG002
        check_rows(rows, self._width, self._required)
        return [self._answer] * len(rows)

    def present(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to let go of."""
