"""After the story: break things yourself."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from mainstay.app.demo.scene import Scene
from mainstay.core.errors import MainstayError
from mainstay.testing import toy_crm


def _with_crm(act: Callable[[toy_crm.Connection], object]) -> Callable[[Scene], None]:
    def do(scene: Scene) -> None:
        with scene.world.crm() as connection:
            act(connection)

    return do


def _ask(scene: Scene) -> None:
    key = scene.screen.console.input("  key [C-00042]: ").strip() or "C-00042"
    scene.both(key, key)


def _delete(scene: Scene) -> None:
    key = scene.screen.console.input("  key [C-00042]: ").strip() or "C-00042"
    _with_crm(lambda connection: toy_crm.delete_customer(connection, key))(scene)


def _kill(scene: Scene) -> None:
    scene.world.workers()[-1].kill()


def _why(scene: Scene) -> None:
    scene.show("why", scene.world.mainstay(scene.watched).receipt, check=False)


CHOICES: dict[str, tuple[str, Callable[[Scene], None]]] = {
    "a": ("ask both for a customer", _ask),
    "1": ("stop the CRM", lambda scene: scene.world.server.stop("immediate")),
    "2": ("start the CRM", lambda scene: scene.world.server.start()),
    "3": ("garbage into 1 % of the customers", _with_crm(toy_crm.garbage)),
    "4": ("mend the garbage", _with_crm(toy_crm.mend_garbage)),
    "5": ("drop a column", _with_crm(toy_crm.drop_column)),
    "6": ("bring it back", _with_crm(toy_crm.restore_column)),
    "7": ("delete a customer", _delete),
    "8": ("kill -9 a worker", _kill),
    "s": ("mainstay status", lambda scene: _discard(scene.show("status", check=False))),
    "w": ("why the last answer", _why),
}


def menu(scene: Scene) -> None:
    """Asks for one thing after the other until `q` or the end of input."""
    import psycopg

    console = scene.screen.console
    console.print(f"\nEverything still runs: {scene.world.url}/docs. Break it yourself.")
    console.print(f"The card on the CRM's account page: {scene.page.url}/accounts/{scene.watched}")
    table = Table.grid(padding=(0, 2))
    for letter, (text, _) in CHOICES.items():
        table.add_row(letter, text)
    table.add_row("q", "end")
    console.print(table)
    while True:
        try:
            letter = console.input("\n> ").strip().lower()
        except EOFError:
            return
        if letter == "q":
            return
        if letter not in CHOICES:
            console.print("  one of " + " ".join([*CHOICES, "q"]))
            continue
        try:
            CHOICES[letter][1](scene)
            console.print("  done")
        except (MainstayError, psycopg.Error) as error:
            console.print(f"  {str(error).splitlines()[0]}", markup=False)


def _discard(_: object) -> None:
    """A choice gives nothing back."""
