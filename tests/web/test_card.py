"""The decision card in a real Chromium, in the demo's CRM page with its strict policy, at another origin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from mainstay.app.demo.crm_page import CrmPage, Pass
from mainstay.core.clock import HOUR, MINUTE, SECOND
from mainstay.core.nouns import Card, Field, Signature
from mainstay.serving.keys import revoke_key
from tests.http.serving import Served
from tests.http.test_card import decisions
from tests.serving.toy import SIGNATURE, online_row
from tests.web.browser import CONTRAST, Tab, tab

pytestmark = pytest.mark.timeout(1_000)  # the first may have to install a Chromium

WORDS = Signature(
    inputs=SIGNATURE.inputs,
    outputs=(
        Field(name="churn", type="number", unit="probability", meaning="leaves within 90 days", minimum=0, maximum=1),
        Field(name="loss", type="number", unit="EUR", meaning="expected loss a year"),
        Field(name="reasons", type="string"),
    ),
)
REASONS = '["Contract ends in 3 weeks", "<img src=x onerror=alert(1)> two complaints since May"]'


class Crm:
    """The toy CRM in front of the served toy desk."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.token_key: str | None = None
        self.given: Pass | None = None
        self.caller = served.caller(served.toy.key("predict"))
        fields = {
            "Name": "Alma Lindqvist",
            "Region": "north",
            "Contract": "month-to-month",
            "Customer since": "2019-04-01",
        }
        address = f"http://127.0.0.1:{served.port}"
        self.page = CrmPage(address, "churn", lambda key: fields, self.card, others=("A", "B", "nobody"))

    def card(self, key: str) -> Pass:
        if self.given is not None:
            return self.given
        asked = {"key": self.token_key or key, "user": "j.doe"}
        given = self.caller.ask("POST", "/v1/churn/card-tokens", asked).json
        return Pass(given["token"], given["script"], given["integrity"])

    def allow(self, *origins: str) -> None:
        toy = self.served.toy
        toy.file = msgspec.structs.replace(toy.file, card=Card(origins=origins))
        toy.reapply()

    def url(self, key: str = "A") -> str:
        return f"{self.page.url}/accounts/{key}"


@pytest.fixture
def crm(served: Served) -> Iterator[Crm]:
    made = Crm(served)
    with made.page:
        made.allow(made.page.url)
        yield made
    made.caller.close()


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Tab]:
    with tab(browser, viewport={"width": 1000, "height": 640}, color_scheme="light") as made:
        yield made


def worded(served: Served, reasons: str = REASONS) -> None:
    """From now on a version answers that has several outputs, reasons among them."""
    served.toy.models[2] = served.toy.models[1]
    answer = lambda rows, deadline_us=None: [(0.312, 1840.5, reasons) for _ in rows]  # noqa: E731 - one line of a toy
    served.toy.models[2].predict = answer  # type: ignore[method-assign]
    served.toy.version(2, WORDS)


def region(page: Page, name: str = "Leaves within 90 days") -> Any:
    return page.get_by_role("region", name=name)


def test_the_card_shows_value_reasons_and_age_under_a_strict_policy(served: Served, crm: Crm, open_tab: Tab) -> None:
    worded(served)
    open_tab.page.goto(crm.url())
    card = region(open_tab.page)
    expect(card).to_be_visible()
    expect(card).to_contain_text("31 %")
    expect(card).to_contain_text("about 3 in 10")
    expect(card).to_contain_text("1,840.5 EUR")
    expect(card).to_contain_text("Data 1")
    assert card.get_by_role("listitem").all_text_contents() == [
        "Contract ends in 3 weeks", "<img src=x onerror=alert(1)> two complaints since May",
    ]  # fmt: skip
    open_tab.shot("card-light")
    assert open_tab.faults == []
    mainstay = f"http://127.0.0.1:{served.port}/"
    assert all(url.startswith((mainstay, crm.page.url, "data:")) for url in open_tab.asked), open_tab.asked


def test_without_reasons_there_is_no_list_of_them(crm: Crm, open_tab: Tab) -> None:
    open_tab.page.goto(crm.url())
    card = region(open_tab.page, "Churn")
    expect(card).to_contain_text("17 %")
    assert not card.get_by_role("list").is_visible()
    assert not card.get_by_text("Why", exact=True).is_visible()


def test_accepting_lands_with_the_receipt_and_is_said(served: Served, crm: Crm, open_tab: Tab) -> None:
    open_tab.page.goto(crm.url())
    card = region(open_tab.page, "Churn")
    card.get_by_role("button", name="Accept").click()
    expect(card).to_contain_text("Accepted by j.doe.")
    assert open_tab.active().startswith("Accepted by j.doe.")
    open_tab.shot("card-accepted")
    [event] = decisions(served.toy)
    receipt = served.toy.receipt(event.receipt)
    assert (receipt.key, event.by, event.body["decision"]) == ("A", "j.doe", "accepted")


def test_overriding_goes_by_keyboard_alone_and_wants_a_reason(served: Served, crm: Crm, open_tab: Tab) -> None:
    page = open_tab.page
    page.goto(crm.url())
    card = region(page, "Churn")
    expect(card.get_by_role("button", name="Accept")).to_be_visible()
    for wanted in ("Accept", "Override …"):
        page.keyboard.press("Tab")
        assert open_tab.active() == wanted
    page.keyboard.press("Enter")
    assert open_tab.active() == "reason"
    page.keyboard.press("Escape")
    assert open_tab.active() == "Override …"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert open_tab.active() == "Save"
    page.keyboard.press("Enter")
    field = card.get_by_role("textbox", name="Why do you decide otherwise?")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description("Say why, in a few words.")
    assert open_tab.active() == "reason"
    open_tab.shot("card-overriding")
    page.keyboard.type("Renewed by phone this morning")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(card).to_contain_text("Overridden by j.doe: Renewed by phone this morning.")
    open_tab.shot("card-overridden")
    [event] = decisions(served.toy)
    assert (event.body["decision"], event.body["reason"]) == ("overridden", "Renewed by phone this morning")


def test_a_decision_can_be_changed_and_both_stand(served: Served, crm: Crm, open_tab: Tab) -> None:
    open_tab.page.goto(crm.url())
    card = region(open_tab.page, "Churn")
    card.get_by_role("button", name="Accept").click()
    card.get_by_role("button", name="Change").click()
    assert open_tab.active() == "Accept"
    card.get_by_role("button", name="Override …").click()
    card.get_by_role("textbox").fill("Wrong row")
    card.get_by_role("button", name="Save").click()
    expect(card).to_contain_text("Overridden by j.doe: Wrong row.")
    first, second = decisions(served.toy)
    assert first.receipt == second.receipt
    assert (first.body["id"], first.body["decision"]) != (second.body["id"], second.body["decision"])


@pytest.mark.parametrize(
    ("name", "told", "again"),
    [
        ("missing", "No row with this key", True),
        ("held", "The row is held", True),
        ("deleted", "The row was deleted", False),
        ("stale", "The data is older than promised", True),
        ("revoked", "The card may not be shown", False),
        ("foreign", "This card is for somebody else", False),
    ],
)
def test_what_is_refused_is_told_in_words(crm: Crm, open_tab: Tab, name: str, told: str, again: bool) -> None:
    toy, page = crm.served.toy, open_tab.page
    now = toy.clock.now_us()
    match name:
        case "held":
            toy.rows(online_row("A", held=True, held_as_of_us=now - HOUR, sentence="tenure.max failed"))
        case "deleted":
            toy.rows(online_row("A", deleted=True, values=None))
        case "stale":
            toy.dataset(as_of_us=now - 2 * HOUR)
        case "revoked":
            crm.given = crm.card("A")
            [key] = toy.view.keys.now.values()
            revoke_key(toy.state, key.id, clock=toy.clock)
            toy.view.refresh()
        case "foreign":
            crm.token_key = "B"
    page.goto(crm.url("nobody" if name == "missing" else "A"))
    card = region(page, "No prediction")
    alert = card.get_by_role("alert")
    expect(alert).to_contain_text(told)
    assert card.get_by_role("button", name="Ask again").is_visible() == again
    assert not card.get_by_role("button", name="Accept").is_visible()
    if name in ("stale", "held"):
        open_tab.shot(f"card-refused-{name}")


def test_a_page_that_is_not_named_sees_no_card(crm: Crm, open_tab: Tab) -> None:
    crm.allow()
    open_tab.page.goto(crm.url())
    expect(region(open_tab.page, "No prediction")).to_contain_text("The card cannot be reached")


def test_asking_again_succeeds_once_the_data_is_fresh(served: Served, crm: Crm, open_tab: Tab) -> None:
    toy = served.toy
    toy.dataset(as_of_us=toy.clock.now_us() - 2 * HOUR)
    open_tab.page.goto(crm.url())
    expect(region(open_tab.page, "No prediction")).to_be_visible()
    toy.dataset(as_of_us=toy.clock.now_us())
    open_tab.page.get_by_role("button", name="Ask again").click()
    expect(region(open_tab.page, "Churn")).to_contain_text("17 %")


def test_an_answer_that_is_not_plain_says_so(served: Served, crm: Crm, open_tab: Tab) -> None:
    served.toy.dataset(as_of_us=served.toy.clock.now_us() - 10 * MINUTE)
    open_tab.page.goto(crm.url())
    card = region(open_tab.page, "Churn")
    expect(card).to_contain_text("Data 10 minutes old")
    expect(card.locator(".note")).to_have_text("Customers is 10 min old, warned above 5 min.")
    open_tab.shot("card-flagged")


def test_an_answer_ages_while_it_is_looked_at(served: Served, crm: Crm, open_tab: Tab) -> None:
    served.toy.dataset(as_of_us=served.toy.clock.now_us() - HOUR + 3 * SECOND)
    open_tab.page.goto(crm.url())
    card = region(open_tab.page, "Churn")
    expect(card).to_contain_text("17 %")
    expect(card).to_contain_text("This is older than the 60 minutes that were promised.")
    expect(card.get_by_role("button", name="Ask again")).to_be_visible()


def test_the_token_can_be_renewed_when_its_time_is_over(served: Served, crm: Crm, open_tab: Tab) -> None:
    page = open_tab.page
    page.goto(crm.url())
    card = region(page, "Churn")
    expect(card).to_contain_text("17 %")
    served.toy.clock.advance(20 * MINUTE)
    page.evaluate("document.addEventListener('mainstay-card-expired', () => document.body.dataset.over = 'yes')")
    card.get_by_role("button", name="Accept").click()
    expect(card.get_by_role("alert")).to_contain_text("This card's time is over")
    assert page.evaluate("document.body.dataset.over") == "yes"
    assert decisions(served.toy) == []
    page.evaluate("token => document.querySelector('mainstay-card').setAttribute('token', token)", crm.card("A").token)
    expect(card).to_contain_text("17 %")
    card.get_by_role("button", name="Accept").click()
    expect(card).to_contain_text("Accepted by j.doe.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(served: Served, crm: Crm, browser: Browser, scheme: Any) -> None:
    worded(served)
    served.toy.dataset(as_of_us=served.toy.clock.now_us() - 10 * MINUTE)
    with tab(browser, viewport={"width": 1000, "height": 640}, color_scheme=scheme) as seen:
        seen.page.goto(crm.url())
        card = region(seen.page)
        card.get_by_role("button", name="Override …").click()
        card.get_by_role("button", name="Save").click()
        _contrasts(card)
        seen.shot(f"card-{scheme}-form")
        card.get_by_role("textbox").fill("No")
        card.get_by_role("button", name="Save").click()
        expect(card).to_contain_text("Overridden")
        _contrasts(card)
        seen.shot(f"card-{scheme}-overridden")
        surface = card.evaluate("element => getComputedStyle(element).backgroundColor")
        assert surface == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(27, 31, 36)")


def _contrasts(card: Any) -> None:
    seen = 0
    for element in card.locator("p, strong, span, dt, dd, li, label, button").all():
        if element.is_visible() and element.text_content():
            contrast = element.evaluate(CONTRAST)
            assert contrast >= 4.5, (element.text_content(), contrast)
            seen += 1
    assert seen > 8


def test_the_page_themes_the_card(crm: Crm, open_tab: Tab) -> None:
    page = open_tab.page
    page.goto(crm.url())
    card = region(page, "Churn")
    expect(card).to_contain_text("17 %")
    page.evaluate(
        """() => { const sheet = new CSSStyleSheet();
        sheet.replaceSync('mainstay-card { --mainstay-card-accent: #7a1fa2; --mainstay-card-radius: 0 }');
        document.adoptedStyleSheets = [sheet]; }"""
    )
    accept = card.get_by_role("button", name="Accept")
    assert accept.evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(122, 31, 162)"
    assert card.evaluate("element => getComputedStyle(element).borderRadius") == "0px"
    open_tab.shot("card-themed")


def test_a_narrow_page_has_no_sideways_scrolling(served: Served, crm: Crm, browser: Browser) -> None:
    worded(served)
    with tab(browser, viewport={"width": 320, "height": 720}) as seen:
        seen.page.goto(crm.url())
        expect(region(seen.page)).to_contain_text("31 %")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 320
        seen.shot("card-narrow")


def test_screen_readers_hear_the_answer_and_each_control_is_large_enough(crm: Crm, open_tab: Tab) -> None:
    open_tab.page.goto(crm.url())
    card = region(open_tab.page, "Churn")
    expect(card.get_by_role("status")).to_have_text("Churn: 17 %, about 2 in 10.")
    expect(card).to_have_attribute("aria-busy", "false")
    for button in card.get_by_role("button").all():
        if button.is_visible():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 24 <= box["width"]
