"""The status page in a real Chromium: keyboard, screen reader's names, policy, live refresh, dark and light."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from mainstay.app.commands import ask
from mainstay.core.clock import SystemClock
from mainstay.serving.keys import list_keys, revoke_key
from mainstay.store.state_sqlite import SqliteState
from tests.web.browser import CONTRAST, Tab, tab
from tests.web.looking import EVIL, Looked, bad_shop, looped, paged

SHOWN = "/", "/datasets/customers?window=1h", "/quarantine", "/quarantine/customers", "/model", "/events"
WATCH = (
    "document.addEventListener('securitypolicyviolation', (one) => console.error('policy: ' + one.violatedDirective));"
)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A shop with thirty rejected rows, its loop running, its status page served."""
    shop = bad_shop(tmp_path_factory.mktemp("shop"))
    with looped(shop), paged(shop) as made:
        yield made


@contextmanager
def signed_in(browser: Browser, looked: Looked, path: str = "/", **options: Any) -> Iterator[Tab]:
    """A tab in which somebody signed in by keyboard and was led to `path`."""
    with tab(browser, base_url=f"http://127.0.0.1:{looked.port}", **options) as it:
        it.page.add_init_script(WATCH)
        it.page.goto(path)
        it.page.locator("#key:focus").wait_for()  # it is focused by itself, without a script a moment later
        it.page.keyboard.type(looked.key())
        it.page.keyboard.press("Enter")
        it.page.wait_for_selector("nav")
        yield it


def faint(page: Page) -> list[tuple[str, float]]:
    """The texts that are shown and hard to read, each with its contrast; asked in one go, for there are hundreds."""
    texts = page.locator("h1, h2, p, th, td, a, dt, dd, button, .verdict, summary, code")
    ratios = texts.evaluate_all(
        f"all => all.filter(one => one.checkVisibility()).map(one => [one.innerText, ({CONTRAST})(one)])"
    )
    assert ratios
    return [(text, ratio) for text, ratio in ratios if ratio < 4.5]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_readable_and_breaks_no_rule(browser: Browser, looked: Looked, scheme: str) -> None:
    with signed_in(browser, looked, color_scheme=scheme) as it:
        for path in SHOWN:
            it.page.goto(path)
            it.shot(f"{scheme}{path.split('?')[0].replace('/', '-')}")
            light = it.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(246, 248, 250)"
            assert light is (scheme == "light")
            assert it.page.locator("h1").count() == 1
            assert not faint(it.page), path
        it.page.goto("/login")
        assert not faint(it.page)
        assert it.page.title() != "owned"
        assert it.faults == []
        assert all(one.startswith(f"http://127.0.0.1:{looked.port}/") for one in it.asked)


def test_a_narrow_window_has_no_sideways_scrolling(browser: Browser, looked: Looked) -> None:
    with signed_in(browser, looked, viewport={"width": 400, "height": 800}) as it:
        for path in SHOWN:
            it.page.goto(path)
            assert it.page.evaluate("document.documentElement.scrollWidth") == 400, path
            it.shot(f"narrow{path.partition('?')[0].replace('/', '-')}")


def test_a_usual_window_shows_every_column_of_long_lines(browser: Browser, looked: Looked) -> None:
    said = ["customer_contracts", "UNKNOWN", "23.5 min", "warn 15 min, fail 1.5 h, newest 1.5 d", "23.5 min ago",
            "1,234,567", "12,345", "1,234", "12", "1234"]  # fmt: skip
    fill = "(row, said) => said.forEach((one, at) => { row.cells[at].textContent = one })"
    with signed_in(browser, looked, viewport={"width": 1280, "height": 800}) as it:
        it.page.click("#pause")
        it.page.locator("#datasets tbody tr").evaluate(fill, said)
        it.shot("long-lines")
        table = it.page.locator(".scroll")
        assert table.evaluate("it => it.scrollWidth - it.clientWidth") == 0


def test_a_policy_that_is_broken_would_be_seen(browser: Browser, looked: Looked) -> None:
    with signed_in(browser, looked) as it:
        it.page.evaluate("document.body.setAttribute('style', 'color: red')")
        it.page.evaluate("const one = new Image(); one.src = 'http://127.0.0.1:1/x.png'; document.body.append(one)")
        it.page.wait_for_timeout(200)
        assert any("policy: style-src" in one for one in it.faults)
        assert any("policy: img-src" in one for one in it.faults)


def test_it_goes_by_keyboard_alone(browser: Browser, looked: Looked) -> None:
    with signed_in(browser, looked) as it:
        press = it.page.keyboard.press
        press("Tab")
        assert it.active() == "Skip to the content"
        press("Enter")
        assert it.active() == "main"
        it.page.goto("/")
        seen = []
        for _ in range(12):
            press("Tab")
            seen.append(it.active())
        expected = ["Skip to the content", "Overview", "Quarantine", "Model", "Events", "Sign out"]
        assert seen[:6] == expected
        assert seen[6].startswith("Dataset")  # the table can be scrolled by arrow keys
        assert seen[7:10] == ["to-customers", "q-customers", "pause"]
        it.page.focus("#to-customers")
        assert it.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        press("Enter")
        it.page.wait_for_url("**/datasets/customers")
        it.page.focus("#age-summary")
        press("Enter")
        expect(it.page.locator("#age-table table")).to_be_visible()
        it.page.locator("#to-quarantine").press("Enter")
        it.page.wait_for_url("**/quarantine/customers")
        it.page.get_by_role("link", name="Older rows").press("Enter")
        it.page.wait_for_url(re.compile("before="))
        it.page.get_by_role("button", name="Sign out").press("Enter")
        it.page.wait_for_url("**/login")
        expect(it.page.locator("#key")).to_be_focused()
        assert it.faults == []


def test_a_screen_reader_is_told_the_same(browser: Browser, looked: Looked) -> None:
    with signed_in(browser, looked) as it:
        tree = it.page.locator("body").aria_snapshot()
        for words in ("banner", 'navigation "Pages"', "main", 'heading "WARN 2 things are wrong" [level=1]',
                      'region "Datasets"', 'columnheader "Age"', 'rowheader "customers"'):  # fmt: skip
            assert words in tree, tree
        it.page.goto("/datasets/customers?window=1h")
        tree = it.page.locator("body").aria_snapshot()
        assert 'img "In the last 1 h the greatest age was' in tree
        assert "kept throughout" in tree
        it.page.goto("/quarantine/customers")
        assert it.page.get_by_role("cell", name="999 (failed)").count() == 25


def test_it_is_read_without_javascript(browser: Browser, looked: Looked) -> None:
    with signed_in(browser, looked, java_script_enabled=False) as it:
        for path in SHOWN:
            it.page.goto(path)
            assert it.page.locator("h1").is_visible()
        assert not it.page.locator("#pause").is_visible()
        it.page.goto("/quarantine/customers")
        assert it.page.get_by_text(EVIL).first.is_visible()


def test_it_stays_live_and_keeps_what_somebody_does(browser: Browser, tmp_path: Path) -> None:
    shop = bad_shop(tmp_path, bad=1)
    with looped(shop), paged(shop) as looked, signed_in(browser, looked) as it:
        page = it.page
        page.evaluate("window.still = true")
        page.focus("#to-customers")
        assert "2 things are wrong" in page.inner_text("h1")
        rows = ask(shop.place, "quarantine.list", {})["rows"]
        ask(shop.place, "quarantine.discard", {"ids": [rows[0]["id"]], "reason": "a test"})
        expect(page.locator("h1")).to_contain_text("One thing is wrong", timeout=30_000)
        expect(page.locator("#said")).to_have_text("WARN, one thing is wrong")
        expect(page.locator("#to-customers")).to_be_focused()
        assert page.evaluate("window.still")
        page.goto("/datasets/customers?window=1h")
        page.click("#age-summary")
        page.evaluate("document.querySelector('figcaption').textContent = 'old'")
        expect(page.locator("figcaption")).not_to_have_text("old", timeout=30_000)
        expect(page.locator("#age-table table")).to_be_visible()
        page.click("#pause")
        expect(page.locator("#pause")).to_have_text("Go on")
        asked = len(it.asked)
        page.wait_for_timeout(6_000)
        assert len(it.asked) == asked
        page.click("#pause")
        _revoke(looked)
        expect(page.locator("#told")).to_contain_text("signed out", timeout=30_000)
        assert [one for one in it.faults if "401" not in one] == []


def test_it_says_that_it_is_old_when_mainstay_is_gone(browser: Browser, tmp_path: Path) -> None:
    with paged(bad_shop(tmp_path, bad=0)) as looked, tab(browser) as it:
        base = f"http://127.0.0.1:{looked.port}"
        it.page.goto(f"{base}/login")
        it.page.fill("#key", looked.key())
        it.page.keyboard.press("Enter")
        it.page.wait_for_selector("#datasets")
        it.page.context.set_offline(True)
        expect(it.page.locator("#told")).to_contain_text("cannot be reached", timeout=30_000)
        it.page.context.set_offline(False)
        expect(it.page.locator("#told")).to_be_empty(timeout=30_000)


def _revoke(looked: Looked) -> None:
    state = SqliteState(looked.shop.place.home.state)
    try:
        revoke_key(state, list_keys(state)[-1].id, clock=SystemClock())
    finally:
        state.close()
