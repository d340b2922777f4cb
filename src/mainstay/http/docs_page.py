"""/docs: the API contract as one page, rendered here, with nothing from elsewhere and no script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from mainstay.core.nouns import Field, Retired
from mainstay.http import openapi, openapi_callers, openapi_fields
from mainstay.http.openapi_callers import KEYS_ALONE, Known
from mainstay.http.problems import TITLES
from mainstay.serving.contract import ApiContract
from mainstay.serving.request import Key
from mainstay.serving.retirement import sentence

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7e; --line: #dfe4ea; --paper: #fff; --tint: #f5f7f9;
  --mark: #0b6e5f }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa7b8; --line: #2c3644; --paper: #141a22;
  --tint: #1c2430; --mark: #5fd0bd } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 54rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem }
h1 { font-size: 1.9rem; margin: 0 0 .25rem } h2 { margin: 2.75rem 0 .5rem; font-size: 1.25rem }
p { margin: .5rem 0 } .soft { color: var(--soft) }
code, pre { font: .875rem/1.5 ui-monospace, monospace }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: .5rem; padding: .9rem 1rem;
  overflow-x: auto }
@media (max-width: 40rem) { table { display: block; overflow-x: auto } }
table { border-collapse: collapse; width: 100%; margin: .75rem 0 } th { text-align: left; color: var(--soft) }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
.verb { color: var(--mark); font-weight: 600; margin-right: .5rem } a { color: var(--mark) }
"""


def page(
    contract: ApiContract,
    examples: openapi.Examples,
    base: str,
    retired: Retired | None = None,
    ways: Known = KEYS_ALONE,
) -> str:
    """The page. `base` is the address under which the caller reached us; `ways`: how callers are known."""
    name = contract.integration
    predict = f"/v1/{name}/predict"
    requests = openapi.document(contract, examples)["paths"][predict]["post"]["requestBody"]
    bodies = requests["content"]["application/json"]["examples"]
    parts = [
        f"<h1>{escape(name)}</h1>",
        f'<p class=soft>API contract {contract.api}. Also as <a href="/openapi.json">OpenAPI</a>.</p>',
        *_retired(retired),
        *(f"<p>{escape(one)}</p>" for one in openapi_callers.sentences(ways)),
        "<p>Put the key where your shell finds it:</p>",
        _code("export MAINSTAY_KEY=msk_..."),
        _route("POST", predict, "An answer for a key, for up to 1,000 keys, or for rows of your own."),
    ]
    for example in bodies.values():
        parts += [f"<p>{escape(example['summary'])}</p>", _code(openapi.curl(base, predict, example["value"]))]
    parts += ["<p>What comes back:</p>", _code(json.dumps(_reply(contract), indent=2))]
    parts += [_table("Outputs", contract.outputs), _table("Request-time inputs", contract.inputs)]
    if contract.keys:
        parts.append(_table("Columns of the key", contract.keys))
    parts.append(_table("Columns that rows may carry", contract.columns))
    parts += _feedback(name, base, examples.key)
    parts += ["<h2>Problems</h2>", "<p>Errors are RFC 9457 problems: a type, a title, a sentence, and what to do.</p>"]
    rows = "".join(
        f'<tr id="{escape(code)}"><td><code>{escape(code)}</code><td>{escape(text)}' for code, text in TITLES.items()
    )
    parts.append(f"<table><tr><th>type<th>title{rows}</table>")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        f'content="width=device-width, initial-scale=1"><title>{escape(name)}: API</title><style>{_STYLE}</style>'
        f"<main>{''.join(parts)}</main></html>"
    )


def _retired(retired: Retired | None) -> list[str]:
    if retired is None:
        return []
    more = f' <a href="{escape(retired.link)}">Why, and how to go on</a>.' if retired.link else ""
    return [f"<p id=retired><strong>{escape(sentence(retired))}.</strong>{more}</p>"]


def _feedback(name: str, base: str, key: Key) -> list[str]:
    decision = {"receipt": "RECEIPT", "decision": "overridden", "reason": "called last week", "by": "j.doe"}
    outcome = {"receipt": "RECEIPT", "outcome": True, "observed_at": "2026-01-31T12:00:00Z"}
    return [
        _route("POST", f"/v1/{name}/decisions", "What a person did with the answer: accepted, overridden or ignored."),
        _code(openapi.curl(base, f"/v1/{name}/decisions", decision)),
        _route("POST", f"/v1/{name}/outcomes", "What came true."),
        _code(openapi.curl(base, f"/v1/{name}/outcomes", outcome)),
        _route("POST", f"/v1/{name}/card-tokens", "A token for the decision card: for one key and one user."),
        _code(openapi.curl(base, f"/v1/{name}/card-tokens", {"key": key, "user": "j.doe", "ttl": 900})),
        _route("GET", "/v1/receipts/{id}", "The whole record of an answer: for its caller, or with role operate."),
        _code(f"curl -s '{base}/v1/receipts/RECEIPT' -H \"Authorization: Bearer $MAINSTAY_KEY\""),
        _route("GET", "/health/ready", "Whether this worker can answer. Open to everybody."),
        _route("GET", "/metrics", "For Prometheus, with role operate."),
    ]


def _reply(contract: ApiContract) -> dict[str, object]:
    return {
        "output": {field.name: openapi_fields.sample(field) for field in contract.outputs},
        "receipt": "r...",
        "model_version": 1,
        "as_of": "2026-01-31T12:00:00.000000Z",
        "age_seconds": 4.2,
        "verdict": "PASS",
        "sentence": "",
        "degraded": False,
        "reason": "",
    }


def _route(verb: str, path: str, text: str) -> str:
    return f"<h2><span class=verb>{verb}</span><code>{escape(path)}</code></h2><p>{escape(text)}</p>"


def _code(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"


def _table(title: str, fields: Sequence[Field]) -> str:
    if not fields:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(field.name)}</code><td>{escape(field.type)}<td>{escape(field.unit)}"
        f"<td>{escape(field.meaning)}{' (required)' if field.required else ''}"
        for field in fields
    )
    return f"<p class=soft>{escape(title)}</p><table><tr><th>name<th>type<th>unit<th>meaning{rows}</table>"
