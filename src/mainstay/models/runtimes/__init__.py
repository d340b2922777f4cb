"""What executes a kind of artifact: one file per kind. Third parties come in through the same door.

A runtime is a class without constructor arguments that implements `mainstay.core.ports.Runtime`. Packages of others
announce theirs under the entry point group `mainstay.runtimes`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from mainstay.core.errors import ModelRefused, NotFound
from mainstay.core.ports import Runtime

GROUP = "mainstay.runtimes"

BUILT_IN: dict[str, str] = {
    "constant": "mainstay.models.runtimes.constant:ConstantRuntime",
    "rule": "mainstay.models.runtimes.rule:RuleRuntime",
    "onnx": "mainstay.models.runtimes.onnx:OnnxRuntime",
    "xgboost": "mainstay.models.runtimes.xgboost:XgboostRuntime",
    "lightgbm": "mainstay.models.runtimes.lightgbm:LightgbmRuntime",
    "python": "mainstay.models.runtimes.python:PythonRuntime",
    "http": "mainstay.models.runtimes.http:HttpRuntime",
}


def runtime_names() -> tuple[str, ...]:
    """Every runtime that is installed here, built in ones first."""
    others = sorted({point.name for point in entry_points(group=GROUP)} - BUILT_IN.keys())
    return (*BUILT_IN, *others)


def runtime_of(name: str) -> Runtime:
    """The runtime called `name`. Raises NotFound, or ModelRefused when its libraries are not installed."""
    target = BUILT_IN.get(name) or next((point.value for point in entry_points(group=GROUP, name=name)), None)
    if target is None:
        raise NotFound(
            f"there is no runtime called {name!r}",
            mend=f"known ones: {', '.join(runtime_names())}; others come with a package that announces `{GROUP}`",
        )
    module, _, attribute = target.partition(":")
    try:
        made: Runtime = getattr(import_module(module), attribute)()
    except ImportError as error:
        raise ModelRefused(
            f"the runtime {name} needs {error.name or 'a library'}, which is not installed",
            mend=f'pip install "mainstay[{name}]"',
        ) from error
    return made
