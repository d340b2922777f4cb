"""`mainstay model`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted

if TYPE_CHECKING:
    from mainstay.core.nouns import PreStep

app = typer.Typer(help="Add, list, show and switch model versions.", no_args_is_help=True)


Model = Annotated[
    Path,
    typer.Argument(
        help="An ONNX, XGBoost, LightGBM, joblib, pickle, skops or .pt2 file; or a folder with model.py or MLmodel."
    ),
]
Python = Annotated[str | None, typer.Option(help="The lab's interpreter: a pickle or .pt2 needs its own libraries.")]
Example = Annotated[Path | None, typer.Option(help="CSV or Parquet with training rows: types and categories.")]
Outputs = Annotated[
    list[str] | None,
    typer.Option(help=r"NAME=METHOD\[CLASS]:UNIT, as in the example; again for another output."),
]
Trust = Annotated[list[str] | None, typer.Option(help="skops: a type that may be loaded.")]
Folders = Annotated[list[str] | None, typer.Option(help="A folder with the lab's own modules.")]
Convert = Annotated[bool, typer.Option("--convert/--no-convert", help="Convert to ONNX where parity is proved.")]
Number = Annotated[int, typer.Argument(help="The version's number.")]


@app.command()
def add(
    ctx: typer.Context,
    *,
    model: Model,
    python: Python = None,
    example: Example = None,
    output: Outputs = None,
    trust: Trust = None,
    path: Folders = None,
    convert: Convert = True,
) -> None:
    r"""Import a trained model as a version. It does not answer before `mainstay model use`.

    A pickle always runs as it is, in its own process; a conversion to ONNX takes its place only where both give the
    same answers on every current row and around every split. ONNX, XGBoost and LightGBM files run in process.

    Example: mainstay model add churn.joblib --python lab/bin/python --example train.csv
    --output churn_probability=predict_proba\[Yes]:probability
    """
    from mainstay.app.models import Wish, add_model, shop
    from mainstay.app.place import locate, whoami

    session: Session = ctx.obj
    wish = Wish(
        file=model.absolute(),
        python=python,
        example=example.absolute() if example else None,
        outputs=tuple(output or ()),
        trusted=tuple(trust or ()),
        paths=tuple(str(Path(one).absolute()) for one in path or ()),
        convert=convert,
    )
    with shop(locate(session.find_file(), session.find_home())) as at:
        version, told = add_model(at, wish, by=whoami("mainstay model add"))
    session.out.document({"version": version, "told": told})
    session.out.say(
        f"version {version.number}: {version.name}, runtime {version.runtime}, {version.build}", style="bold"
    )
    for line in told:
        session.out.say(f"  {line}")
    session.out.say(f"It does not answer yet: mainstay model use {version.number}")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List model versions, and which one answers.

    Example: mainstay model list
    """
    from mainstay.app.models import shop
    from mainstay.app.place import locate
    from mainstay.core.clock import iso

    session: Session = ctx.obj
    with shop(locate(session.find_file(), session.find_home())) as at:
        versions, answering = at.registry.versions(), at.registry.answering()
    session.out.document({"models": versions, "answering": answering})
    now = answering.version if answering else None
    session.out.table(
        ["", "number", "name", "runtime", "origin", "created", "artifact"],
        [
            (
                "answers" if one.number == now else "retired" if one.retired_us else "",
                one.number,
                one.name,
                one.runtime,
                one.origin,
                iso(one.created_us),
                one.digest.removeprefix("sha256:")[:12],
            )
            for one in versions
        ],
    )


@app.command()
def show(ctx: typer.Context, *, number: Number) -> None:
    """Show one version: signature, digests, and what its import measured.

    Example: mainstay model show 2
    """
    from mainstay.app.models import shop
    from mainstay.app.place import locate

    session: Session = ctx.obj
    with shop(locate(session.find_file(), session.find_home())) as at:
        one = at.registry.get(number)
    session.out.document(one)
    session.out.say(f"version {one.number} of {one.name}: runtime {one.runtime}, {one.build}", style="bold")
    session.out.paste(f"artifact {one.digest}")
    if one.original_digest and one.original_digest != one.digest:
        session.out.paste(f"original {one.original_digest}")
    for digest in one.feature_sets or ("",):
        session.out.paste(f"feature set {digest}")
    rows: list[tuple[str, ...]] = [
        (
            "in",
            f.name,
            f.type,
            f.unit,
            counted(len(f.categories), "category", "categories") if f.categories else "",
        )
        for f in one.signature.inputs
    ]
    rows += [(step.kind, step.args["of"], "", "", _told(step)) for step in one.pre]
    rows += [("eats", f.name, f.type, f.unit, f.meaning) for f in one.fed]
    rows += [("gives", f.name, f.type, f.unit, f.meaning) for f in one.raw]
    rows += [(step.kind, step.args.get("as", step.args.get("of", "")), "", "", "") for step in one.post]
    rows += [("out", f.name, f.type, f.unit, f.meaning) for f in one.signature.outputs]
    session.out.table(["", "field", "type", "unit", ""], rows)
    if one.cost:
        costs = [(f"{each.rows:,}", f"{each.us:,}", f"{each.us / each.rows:,.1f}") for each in one.cost]
        session.out.table(["rows at once", "µs", "µs a row"], costs)
    if one.parity:
        session.out.table(["measured at import", ""], [(name, _measured(value)) for name, value in one.parity.items()])


def _measured(value: object) -> object:
    """A number or a truth as it is; of several their names and values."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_measured(each)}" for name, each in value.items())
    return f"{value:.3g}" if isinstance(value, float) else value


def _told(step: PreStep) -> str:
    """What a step of `model.pre` does, with the statistic that is pinned."""
    said = ", ".join(f"{name}: {value}" for name, value in step.args.items() if name != "of")
    if not step.pinned:
        return said
    return f"{step.pinned['value']}, the {step.args['with']} of {counted(step.pinned['rows'], 'row')} when it was added"


@app.command()
def use(ctx: typer.Context, *, number: Number) -> None:
    """Let a version answer from the next request on. Going back is the same command.

    Example: mainstay model use 2
    """
    from mainstay.app.models import shop, use_model
    from mainstay.app.place import locate, whoami

    session: Session = ctx.obj
    with shop(locate(session.find_file(), session.find_home())) as at:
        answering = use_model(at, number, by=whoami("mainstay model use"))
    session.out.document(answering)
    back = f"; back: mainstay model use {answering.previous}" if answering.previous else ""
    session.out.say(f"version {answering.version} answers{back}", style="green")


@app.command()
def retire(
    ctx: typer.Context, *, number: Annotated[int, typer.Argument(help="A version that no longer answers.")]
) -> None:
    """Take a version out of use: its process ends, and its feature set is no longer kept for it.

    Example: mainstay model retire 1
    """
    from mainstay.app.commands import ask
    from mainstay.app.models import retire_model, shop
    from mainstay.app.place import locate, whoami
    from mainstay.core.clock import SECOND
    from mainstay.core.errors import LeaseOwned

    session: Session = ctx.obj
    place = locate(session.find_file(), session.find_home())
    with shop(place) as at:
        version = retire_model(at, number, by=whoami("mainstay model retire"))
    with contextlib.suppress(LeaseOwned):  # the loop looks by itself every few minutes
        ask(place, "features.retire", {}, timeout_us=10 * SECOND)
    session.out.document(version)
    session.out.say(f"version {number} is retired")
