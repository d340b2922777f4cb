"""The status page over real HTTP: a shop, the loop that keeps it current, and the page's server, in threads."""

from __future__ import annotations

import http.client
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from mainstay.app.loop import Loop
from mainstay.app.place import opened
from mainstay.app.supervisor import listen
from mainstay.app.tls import AppliedTls
from mainstay.app.wiring import own
from mainstay.core.clock import SystemClock
from mainstay.serving.keys import Role, create_key
from mainstay.store.state_sqlite import SqliteState
from mainstay.web.serve import PageServer
from tests.app.shop import Shop

EVIL = "<script>document.title = 'owned'</script>"
COLUMNS = """
      customer_id: {type: string, required: true}
      tenure: {type: integer, min: 0, max: 120, unit: months, description: Since the first contract}
      city: {type: string}
      plan: {type: string, pii: true}
"""


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def plain(self) -> str:
        """What a reader without a browser sees."""
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", self.text))


class Looker:
    """A client without JavaScript that keeps the cookie it was given."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""

    def ask(self, path: str, method: str = "GET", form: dict[str, str] | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent["Cookie"] = self.cookie
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, sent)
            reply = connection.getresponse()
            found = Reply(reply.status, reply.headers, reply.read().decode())
        finally:
            connection.close()
        given = found.headers.get("Set-Cookie")
        if given:
            self.cookie = given.partition(";")[0]
        return found

    def sign_in(self, token: str, target: str = "/") -> Reply:
        return self.ask("/login", "POST", {"key": token, "next": target})


class Looked(NamedTuple):
    shop: Shop
    port: int

    def key(self, role: Role = "operate") -> str:
        state = SqliteState(self.shop.place.home.state)
        try:
            return create_key(state, "a person", role, clock=SystemClock())[0]
        finally:
            state.close()

    def looker(self, role: Role | None = "operate") -> Looker:
        made = Looker(self.port)
        if role is not None:
            assert made.sign_in(self.key(role)).status == 303
        return made


@contextmanager
def looped(shop: Shop) -> Iterator[None]:
    """The loop, in a thread that owns the lease."""
    stop, ready = threading.Event(), threading.Event()

    def run() -> None:
        with own(shop.place, "a test") as works:
            loop = Loop(works)
            loop.start()
            ready.set()
            loop.run(stop.is_set, stop.wait)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        stop.set()
        thread.join(60)


@contextmanager
def paged(shop: Shop, *, sealed: bool = False) -> Iterator[Looked]:
    """The page's server, in a thread. `sealed`: with the TLS of the applied file."""
    listening = listen("127.0.0.1", 0)
    with ExitStack() as stack:
        applied = AppliedTls(stack.enter_context(opened(shop.place))) if sealed else None
        server = PageServer(shop.place, SystemClock(), applied)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                thread.join(0.01)
                assert thread.is_alive()
            yield Looked(shop, listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)


def bad_shop(folder: Path, bad: int = 30) -> Shop:
    """A shop with rejected rows: each has a tenure out of range, markup as its city and a personal plan."""
    shop = Shop(folder)
    shop.begin(columns=COLUMNS, dataset="customers", more="purpose: {problem: They learn of it afterwards.}")
    for n in range(bad):
        shop.exec(
            f"INSERT INTO customers VALUES ('bad-{n:03}', 999, '{EVIL.replace(chr(39), chr(39) * 2)}', 'secret-{n}')"
        )
    shop.run()
    return shop
