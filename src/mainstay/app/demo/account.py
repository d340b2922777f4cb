"""The answer where it is used: on the CRM's account page, as a person's browser would have it."""

from __future__ import annotations

import base64
import hashlib
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

from mainstay.app.demo.ask import Said, ask
from mainstay.app.demo.crm_page import CrmPage, Pass
from mainstay.app.demo.world import DemoFailed, World

USER = "a.keller"


def open_page(world: World, customers: tuple[str, ...]) -> CrmPage:
    """The CRM's account pages, for the user that the story looks on with; start it with `with`."""
    made = world.cli("key", "create", "crm", "--role", "predict", "--json").json
    headers = {"Authorization": f"Bearer {made['key']}"}

    def card(key: str) -> Pass:
        given = ask(f"{world.url}/v1/churn/card-tokens", {"key": key, "user": USER}, headers=headers)
        if given.status != 201:
            raise DemoFailed(f"no token for a card: {given.sentence}")
        return Pass(given.body["token"], given.body["script"], given.body["integrity"])

    def account(key: str) -> Mapping[str, str] | None:
        return record(world, key)

    return CrmPage(world.url, "churn", account, card, others=customers, port=world.page_port)


def record(world: World, key: str) -> Mapping[str, str] | None:
    """What the CRM itself shows of a customer; None when it cannot or has nobody."""
    import psycopg

    try:
        with world.crm() as connection:
            row = connection.execute(
                "SELECT name, region, contract, signed_up, ends_on FROM customers JOIN subscriptions "
                "USING (customer_id) WHERE customer_id = %s ORDER BY customers.updated_at DESC LIMIT 1",
                (key,),
            ).fetchone()
    except psycopg.Error:
        return None
    names = ("Name", "Region", "Contract", "Customer since", "Contract ends")
    return (
        None if row is None else dict(zip(names, ("" if value is None else str(value) for value in row), strict=True))
    )


@dataclass(frozen=True)
class Seen:
    """An account page as a browser has it."""

    policy: str
    scripts: int
    script: Mapping[str, str]
    """The attributes of the card's tag."""

    @classmethod
    def at(cls, url: str) -> Seen | None:
        """The page; None while it has no card."""
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - loopback
            found = _Scripts()
            found.feed(response.read().decode())
            policy = response.headers["Content-Security-Policy"]
        return None if not found.tags else cls(policy, len(found.tags), found.tags[0])

    def pinned(self) -> bool:
        """Whether the script at the tag's address is the one whose digest the tag says."""
        with urllib.request.urlopen(self.script["src"], timeout=10) as response:  # noqa: S310 - loopback
            digest = base64.b64encode(hashlib.sha384(response.read()).digest()).decode()
        return self.script["integrity"] == f"sha384-{digest}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.script['data-token']}"}

    def ask(self, path: str, body: Mapping[str, Any], *, origin: str) -> Said:
        """As the script asks."""
        return ask(urljoin(self.script["src"], path), body, headers={**self.headers, "Origin": origin})


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.tags.append({name: value or "" for name, value in attrs})
