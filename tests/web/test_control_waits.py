"""What the control API waits for: issuers, and an applied file whose secrets come late. No request waits with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.app.control import RETRY_US, Control
from mainstay.core.clock import SystemClock
from mainstay.core.records import ApiKey
from mainstay.testing.clock import FakeClock
from tests.app.shop import Shop
from tests.http.issuer import Issuer, issuing
from tests.http.serving import Caller
from tests.web.looking import paged


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


def believing(folder: Path, issuer: Issuer) -> Shop:
    shop = Shop(folder)
    claim = "{claim: groups, values: {bosses: admin}}"
    shop.begin(more=f"callers: {{oidc: [{{name: entra, issuer: '{issuer.url}', audience: mainstay, roles: {claim}}}]}}")
    return shop


def test_what_only_looks_like_a_token_asks_no_issuer(tmp_path: Path, issuer: Issuer) -> None:
    shop = believing(tmp_path, issuer)
    issuer.asked.clear()
    control = Control(shop.place, SystemClock())

    async def asked() -> None:
        for token in (b"eyJhbGciOiJub25lIn0.e30.", b"eyx", b"ey"):
            assert not isinstance(await control.who(token), ApiKey)
        assert issuer.asked == []
        assert isinstance(await control.who(issuer.token(groups=["bosses"]).encode()), ApiKey)

    asyncio.run(asked())
    control.close()


def test_the_server_looks_for_keys_of_issuers_before_anybody_asks(tmp_path: Path, issuer: Issuer) -> None:
    shop = believing(tmp_path, issuer)
    issuer.asked.clear()
    with paged(shop) as looked:
        for _ in range(1_000):
            if "/keys" in issuer.asked:
                break
            time.sleep(0.02)
        assert "/keys" in issuer.asked
        caller = Caller(looked.port, issuer.token(groups=["bosses"]))
        assert caller.ask("GET", "/control/v1/models").status == 200
        caller.close()


def test_an_applied_file_whose_secret_comes_late_is_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shop = Shop(tmp_path)
    secret = shop.folder / "secret"
    secret.write_text("crm.db")
    shop.write()
    shop.file.write_text(shop.file.read_text().replace("path: crm.db", "path: '${file:secret}'"))
    shop.apply()
    secret.unlink()
    clock = FakeClock(SystemClock().now_us())
    control = Control(shop.place, clock)
    capfd.readouterr()
    for _ in range(3):
        assert not control.served
        clock.advance(RETRY_US)
    assert capfd.readouterr().err.count("the control API cannot read the applied file") == 1
    secret.write_text("crm.db")
    clock.advance(RETRY_US)
    assert control.served
    control.close()
