"""What must fit together inside `model.http`."""

from __future__ import annotations

import re
from typing import Any

from mainstay.core.addresses import names_user, target
from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import mapping, sequence, text

_ONLY = {
    "model": "oip",
    "version": "oip",
    "tensor": "oip",
    "datatype": "oip",
    "request": "json",
    "row": "json",
    "answers": "json",
}
"""Keys that one protocol has."""
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"})
_SECRET = re.compile(r"(?i)authorization|cookie|token|secret|password|api[-_]?key")


def cross_check_http(path: Path, model: dict[str, Any], faults: Faults) -> None:
    """The address, the headers, and that inputs and outputs are what the rest of the model says."""
    if "http" not in model:
        return
    said, outputs = mapping(model["http"]), mapping(model.get("outputs"))
    protocol = text(said.get("protocol"))
    _address((*path, "url"), text(said.get("url")), faults)
    _headers((*path, "headers"), mapping(said.get("headers")), faults)
    for name, of in _ONLY.items():
        if name in said and protocol in {"oip", "mlflow", "json"} and protocol != of:
            faults.at(
                (*path, name), f"`{name}` with `protocol: {of}`", f"`protocol: {protocol}`", "delete it", key=True
            )
    if protocol == "oip" and "model" not in said:
        faults.at((*path, "model"), "the model's name on that server", "nothing", "add `model: NAME`")
    if not outputs:
        mend = "add `outputs: {NAME: {type: number}}` beside `http:`"
        faults.at((*path[:-1], "outputs"), "the outputs of the model served elsewhere", "none", mend)
    for name, field in outputs.items():
        if "type" not in mapping(field):
            faults.at(
                (*path[:-1], "outputs", name), "the type of the output", "none", f"write `{name}: {{type: number}}`"
            )
    for name in mapping(said.get("outputs")):
        if outputs and name not in outputs:
            faults.at((*path, "outputs", name), "an output of the model", shown(name), close(name, outputs), key=True)
    _inputs(path, said, faults)
    requested = mapping(model.get("request_inputs"))
    for index, name in enumerate(text(one) for one in sequence(said.get("inputs"))):
        if "image" in mapping(requested.get(name)):
            mend = "send it as base64: delete `image`"
            faults.at((*path, "inputs", index), "an input that is no picture", f"{name}, declared as one", mend)


def _address(where: Path, url: str, faults: Faults) -> None:
    if not url or "${" in url:
        return
    if names_user(url):
        mend = "write it under `headers:`, as ${VAR} or ${file:path}"
        faults.at(where, "an address without a user or password", "one with", mend)
    elif not url.isascii() or target(url) is None:
        faults.at(where, "an http or https address", shown(url), "write https://HOST:PORT/PATH")


def _headers(where: Path, headers: dict[str, Any], faults: Faults) -> None:
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            faults.at((*where, name), "the name of a header", shown(name), "letters, digits and -", key=True)
        elif name.lower() in _OURS:
            faults.at((*where, name), "a header of your own", f"{name}, which is set already", "delete it", key=True)
        elif _SECRET.search(name) and "${" not in text(value):
            mend = f"write `{name}: ${{VAR}}` or `{name}: ${{file:path}}`"
            faults.at((*where, name), "a placeholder for the secret", "the secret itself", mend)


def _inputs(path: Path, said: dict[str, Any], faults: Faults) -> None:
    names = [text(one) for one in sequence(said.get("inputs"))]
    for index, name in enumerate(names):
        if name and name in names[:index]:
            faults.at((*path, "inputs", index), "an input once", f"{shown(name)} again", "delete it")
    for key in ("request", "row"):
        for name in _placeholders(said.get(key)):
            if name not in names and not (name == "rows" and key == "request"):
                faults.at((*path, key), "`$` and an input of `http.inputs`", f"${name}", close(name, names))


def _placeholders(template: object) -> list[str]:
    if isinstance(template, dict):
        return [name for each in template.values() for name in _placeholders(each)]
    if isinstance(template, list):
        return [name for each in template for name in _placeholders(each)]
    if isinstance(template, str) and template.startswith("$") and not template.startswith(("$$", "${")):
        return [template[1:]]
    return []
