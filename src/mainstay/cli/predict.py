"""`mainstay predict`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mainstay.cli.session import Session


def predict(
    ctx: typer.Context,
    *,
    keys: Annotated[list[str] | None, typer.Argument(help="One business key, or several.")] = None,
    named: Annotated[
        list[str] | None,
        typer.Option("--key", "-k", help="A key by its columns: customer_id=C1,product_id=7. Again for another."),
    ] = None,
    row: Annotated[str | None, typer.Option(help="Model inputs as a JSON object, instead of a key.")] = None,
) -> int:
    """Answer for a key as the API would: same row, same policies, with a receipt. Exits 1 when it is refused.

    Example: mainstay predict 7590-VHVEG
    """
    from mainstay.app.answers import predict as answer
    from mainstay.app.place import locate
    from mainstay.core.errors import Refused
    from mainstay.serving.reply import Batch, item
    from mainstay.serving.request import Key, PredictRequest
    from mainstay.serving.view_rows import shown_key

    session: Session = ctx.obj
    asked: list[Key] = [*(keys or []), *(columns_of(one) for one in named or [])]
    if (row is None) == (not asked):
        raise Refused("wanted a key, or --row with model inputs", mend="mainstay predict KEY")
    request = PredictRequest(rows=[_object(row, "--row")]) if row is not None else PredictRequest(keys=asked)
    place = locate(session.find_file(), session.find_home())
    reply = answer(place, request)
    results = reply.results if isinstance(reply, Batch) else [item(reply)]
    session.out.document({"results": results})
    for one in results:
        said = ", ".join(f"{name} = {value}" for name, value in (one.output or {}).items()) or f"refused, {one.status}"
        age = "" if one.age_seconds is None else f", {one.age_seconds:.1f} s old"
        session.out.say(
            f"{shown_key(one.key) if one.key is not None else 'row'}: {said}  ({one.verdict}{age})", style="bold"
        )
        if one.sentence:
            session.out.say(f"  {one.sentence}")
        session.out.say(f"  receipt {one.receipt}")
    return 0 if all(one.status == 200 for one in results) else 1


def columns_of(text: str) -> dict[str, Any]:
    """A key by its columns: `customer_id=C1,product_id=7`, or a JSON object where a value has a comma."""
    from mainstay.core.errors import Refused
    from mainstay.core.keys import typed_columns

    try:
        return dict(typed_columns(text))
    except ValueError:
        raise Refused(
            "--key wants a value for each column of the key", mend="--key customer_id=C1,product_id=7"
        ) from None


def _object(text: str, option: str) -> dict[str, Any]:
    from mainstay.core.errors import Refused

    mend = f"""{option} '{{"tenure": 3}}'"""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Refused(f"{option} is not JSON: {error}", mend=mend) from None
    if not isinstance(found, dict):
        raise Refused(f"{option} wants a JSON object", mend=mend)
    return found
