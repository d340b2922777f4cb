"""`python -m tests.fuzz.guided TARGET CORPUS [libFuzzer's options]`: one target under atheris."""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> None:
    atheris = import_module("atheris")  # of the group `fuzz`, for `make soak`
    with atheris.instrument_imports(include=["mainstay"]):
        from tests.fuzz import targets

    name = sys.argv.pop(1)
    targets.snapshot()
    target = targets.TARGETS[name]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
