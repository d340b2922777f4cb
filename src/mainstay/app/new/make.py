"""From an address and a model file to a folder that `mainstay check` passes: looks, asks, proposes, writes it whole."""

from __future__ import annotations

import os
import re
import shutil
import zoneinfo
from dataclasses import dataclass
from pathlib import Path

from mainstay.app.new.asking import Ask, Asker, Question
from mainstay.app.new.columns import propose
from mainstay.app.new.datasets import choose_table, fed, main_dataset
from mainstay.app.new.inputs import Matched
from mainstay.app.new.looking import Address, address, open_look
from mainstay.app.new.place import beside, remove_left, settle
from mainstay.app.new.tables import singular, slug
from mainstay.app.new.texts import DatasetPlan, Inline, Plan, files, scalar
from mainstay.app.new.untrained import untrained
from mainstay.app.new.work import Say, Wish, Work
from mainstay.app.place import read_file
from mainstay.core.clock import Clock
from mainstay.core.errors import ModelRefused, NotFound, Refused
from mainstay.core.nouns import ColumnType, Field
from mainstay.models.importing import examine
from mainstay.models.importing_folder import handed


@dataclass
class Made:
    """What `new` wrote."""

    folder: Path
    plan: Plan
    outputs: tuple[str, ...]
    """The `--output` of `model add`, where a model was given."""
    paths: tuple[str, ...]


def make(wish: Wish, clock: Clock, *, person: Ask | None, say: Say) -> Made:
    """Writes the installation into `wish.folder`, whole or not at all.

    Raises Refused for a folder that is not empty and for what must be said and was not; SourceError and ModelError as
    the source and the model raise them.
    """
    folder = wish.folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} is there already, and not empty", mend="name a new folder")
    at = address(wish.source, os.environ)
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_left(folder.parent, say)
    with beside(folder) as place:
        look = open_look(at, clock)
        try:
            work = Work(wish, look, Asker(wish.said, person=person, yes=wish.yes), say, clock, place / ".mainstay")
            plan, secrets, outputs = _planned(work, at)
        finally:
            look.source.close()
        written = files(plan, secrets)
        for name, text in written.items():
            _write(place / name, text, secret=name in secrets)
        read_file(place / "mainstay.yaml")
        shutil.rmtree(place / ".mainstay", ignore_errors=True)
        settle(place, folder)
    return Made(folder=folder, plan=plan, outputs=outputs, paths=tuple(written))


def _write(path: Path, text: str, *, secret: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if secret else 0o755)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "w") as file:
        file.write(text)


def _planned(work: Work, at: Address) -> tuple[Plan, dict[str, str], tuple[str, ...]]:
    """What the files will say, the secrets among them, and the model's outputs."""
    wish, ask = work.wish, work.ask
    name = slug(ask.said("name") or wish.folder.name, otherwise="integration")
    if not work.look.names:
        raise Refused("there is no table that can be read", mend="grant SELECT on one, or check the address")
    inputs, outputs = _examined(work, name)
    table = choose_table(work, inputs)
    work.look.pin(table)
    work.say(f"looking at {table}")
    main = main_dataset(work, table)
    matched: tuple[Matched, ...] = ()
    features: tuple[str, ...] = ()
    inline: Inline | None = None
    if wish.model is not None:
        matched, datasets = fed(work, main, inputs)
    else:
        main, features, inline = untrained(work, main, name)
        datasets = [main]
    source = slug(at.name, otherwise="source")
    line, secrets = _address(work.look.at, source)
    plan = Plan(
        name=name,
        source=source,
        kind=at.kind,
        address=line,
        timezone=_timezone(work, datasets),
        owner=ask(Question(what="owner", text="Who answers for this data (e-mail)?", flag="--owner", optional=True)),
        purpose=_purpose(ask),
        datasets=tuple(datasets),
        view=singular(main.name),
        matched=matched,
        features=features,
        inline=inline,
        model=str(wish.model) if wish.model else "",
        port=wish.port,
        guesses=tuple(ask.guesses),
    )
    return plan, secrets, outputs


def _address(at: Address, source: str) -> tuple[str, dict[str, str]]:
    """The line of the file, and the secret that it names: an address with a password never stands in the file."""
    if at.placeholder:
        return f"{at.option}: {at.placeholder}", {}
    if at.kind != "postgres":
        return "\n    ".join(f"{name}: {scalar(value)}" for name, value in {at.option: at.value, **at.more}.items()), {}
    file = f"secrets/{source}_{at.option}"
    return f"{at.option}: ${{file:{file}}}", {file: at.value + "\n"}


def _examined(work: Work, name: str) -> tuple[tuple[Field, ...], tuple[str, ...]]:
    """The model's inputs, and its outputs as `model add` takes them; which are meant is asked, where it has several."""
    wish, said = work.wish, work.ask.said("output")
    if wish.model is None:
        return (), ()
    if not wish.model.exists():
        raise NotFound(f"there is no file {wish.model}", mend="check the path after --model")
    work.say(f"reading {wish.model.name}")
    outputs = tuple(said.split("\n")) if said else ()
    types: tuple[tuple[str, ColumnType], ...] = ()
    with handed(wish.model, wish.example) as given:
        while True:
            try:
                found = examine(
                    given.file, python=wish.python, example=given.example, outputs=outputs, feature_columns=types,
                    trusted=wish.trusted, paths=wish.paths, home=work.home, kind=given.kind, clock=work.clock,
                )  # fmt: skip
            except ModelRefused as refused:
                choices = tuple(one.strip() for one in re.findall(r"--output (NAME=.+?)(?=\s{2,}|$)", refused.mend))
                if choices and not outputs:
                    outputs = (_output(work, name, refused, choices),)
                elif not types and "type of" in refused.sentence:
                    types = _types(work)
                else:
                    raise
            else:
                return found.signature.inputs, outputs


def _output(work: Work, name: str, refused: ModelRefused, choices: tuple[str, ...]) -> str:
    probability = choices[0].endswith(":probability")
    label = f"{name.replace('-', '_')}_{'probability' if probability else 'value'}"
    shown = tuple(re.sub(r":UNIT$", "", one.replace("NAME", label)) for one in choices)
    classes = [one for one in shown if "[" in one]
    yes = r"\[(1|yes|true|y|1\.0)\]" if len(classes) == 2 else r"\[(yes|true|y)\]"
    positive = [one for one in shown if re.search(yes, one, re.IGNORECASE)]
    guess = positive[0] if positive else (shown[0] if len(shown) == 1 else "")
    why = "the class that says yes" if positive else "the only answer that it gives"
    return work.ask(
        Question(what="output", text=refused.sentence, flag="--output", guess=guess, evidence=why, choices=shown)
    )


def _types(work: Work) -> tuple[tuple[str, ColumnType], ...]:
    """Names and types of the likeliest table's columns, for models that know names but not types."""
    table = choose_table(work, ())
    seen = work.look.look(table, work.say)
    columns = [one for one in work.look.describe(table).columns if one.name in seen]
    return tuple((one.name, propose(one, seen[one.name], name=one.name).type) for one in columns)


def _timezone(work: Work, datasets: list[DatasetPlan]) -> str:
    said = work.ask.said("timezone")
    naive = [f"{plan.name}.{column.name}" for plan in datasets for column in plan.columns if column.naive]
    if not naive and not said:
        return ""
    guess = work.look.health.timezone
    evidence = "the server is set to it" if _zone(guess) else "nothing says which it is"
    text = f"{', '.join(naive)}: times without a zone; in which are they?"
    answer = work.ask(
        Question(
            what="timezone", text=text, flag="--timezone", guess=guess if _zone(guess) else "UTC", evidence=evidence
        )
    )
    if not _zone(answer):
        raise Refused(f"there is no time zone {answer}", mend="--timezone Europe/Berlin")
    return answer


def _zone(name: str) -> bool:
    return name in zoneinfo.available_timezones()


def _purpose(ask: Asker) -> dict[str, str]:
    questions = {
        "problem": "What goes wrong today, in a sentence?",
        "workflow": "Where does the answer stand, and what does a person then do?",
    }
    return {
        name: ask(Question(what=name, text=text, flag=f"--{name}", optional=True)) for name, text in questions.items()
    }
