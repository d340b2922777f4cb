"""The status page without JavaScript, over real HTTP: what stands there, who may see it, and what a browser is told."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import msgspec
import pytest
from jinja2 import Environment, PackageLoader
from starlette.routing import Route

from mainstay.app.pages import Pages
from mainstay.app.status import read_status
from mainstay.app.supervisor import listen
from mainstay.app.up import listen_for_page
from mainstay.core.clock import DAY, HOUR, MINUTE, SystemClock
from mainstay.core.nouns_listeners import StatusPage
from mainstay.core.ports import Write
from mainstay.core.records import Backfill
from mainstay.core.verdicts import Finding
from mainstay.serving.keys import list_keys, revoke_key, rotate_key
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.clock import START_US
from mainstay.web.session import IDLE_US, MOST_US, Signer
from mainstay.web.site import Site, routes
from tests.app.shop import Shop
from tests.http.serving import Caller
from tests.web.looking import EVIL, Looked, Looker, bad_shop, looped, paged

SHOWN = "/", "/datasets/customers", "/quarantine", "/quarantine/customers", "/model", "/events"


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A shop with thirty rejected rows, its loop running, its status page served."""
    shop = bad_shop(tmp_path_factory.mktemp("shop"))
    with looped(shop), paged(shop) as made:
        yield made


def paths(looked: Looked) -> list[tuple[str, set[str]]]:
    """Every route that there is, its parameters filled in, and its methods."""
    place = looked.shop.place
    made = routes(Site(Pages(place, SystemClock()), place.home.secret(), SystemClock()))
    assert all(isinstance(one, Route) for one in made)
    return [(one.path.replace("{name}", "customers"), set(one.methods or ())) for one in made]


# --- what stands there -----------------------------------------------------------------------------------------------


def test_the_overview_says_all_that_status_says(looked: Looked) -> None:
    said = looked.looker().ask("/")
    status = read_status(looked.shop.place, SystemClock())
    assert said.status == 200
    plain = unescape(said.plain)
    assert f"{status.verdict} {len(status.wrong)} things are wrong" in plain
    for finding in status.wrong:
        assert finding.verdict in plain
        assert finding.sentence in plain
        assert " ".join(f"Mend: {finding.mend}".replace("`", " ").split()) in plain
    (line,) = status.datasets
    cells = ["customers", line.verdict, r"[\d.]+ m?s", line.promise, r"[\d.]+ m?s ago", "6", "30", "30", "0", "none"]
    assert re.search(r" +".join(cells), plain), plain
    for words in ("version 1 of churn", "Requests 0", "Refused by policy 0", "loop pid", "MB used here"):
        assert words in plain
    assert said.text.index("things are wrong") < said.text.index("Datasets")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("write it under `purpose:`", "write it under <code>purpose:</code>"),
        ("`a` and `<b>`", "<code>a</code> and <code>&lt;b&gt;</code>"),
        ("<i>` & `</i>", "&lt;i&gt;<code> &amp; </code>&lt;/i&gt;"),
        ("one ` alone", "one ` alone"),
        ("`a` and ` alone", "<code>a</code> and ` alone"),
        ("nothing `` between", "nothing `` between"),
        ("`", "`"),
        ("", ""),
    ],
)
def test_what_stands_between_backticks_is_code(text: str, shown: str) -> None:
    templates = Environment(loader=PackageLoader("mainstay.web"), autoescape=True)
    templates.filters["instant"] = str
    assert templates.get_template("parts.html").module.said(text) == shown  # type: ignore[attr-defined]


def test_findings_show_code(looked: Looked) -> None:
    text = looked.looker().ask("/").text
    assert "<code>purpose:</code>" in text
    assert "`" not in text


def test_a_backfill_that_runs_is_on_the_overview(tmp_path: Path) -> None:
    shop = bad_shop(tmp_path, bad=1)
    one = Backfill(id="b1", dataset="customers", by="customer_id", rate=500, size=100, started_us=0)
    with paged(shop) as looked:
        state = SqliteState(shop.place.home.state)
        state.commit([Write(space="backfill", name=one.id, body=msgspec.json.encode(one))])
        state.close()
        assert "Backfill b1 of customers" in " ".join(unescape(looked.looker().ask("/").plain).split())


def test_a_dataset_page_has_contract_freshness_ages_and_batches(looked: Looked) -> None:
    said = looked.looker().ask("/datasets/customers?window=1h")
    plain = unescape(said.plain)
    assert "promised: warn 1 h, fail 2 h" in plain
    assert "tenure integer no no months Since the first contract" in plain
    assert "tenure.max max value: 120 goes to quarantine" in plain
    assert re.search(r"2 2026|2 \d{4}-\d\d-\d\d \d\d:\d\d:\d\d snapshot published 30 30 quarantined", plain)
    assert "30 of 30 rows have tenure above 120" in plain
    # The drawing, its promises with words beside them, and the same as words and as a table.
    assert said.text.count("<polyline") == 1
    assert re.search(r'<text class="fail"[^>]*>fail 2 h</text>', said.text)
    assert "In the last 1 h the greatest age was" in plain
    assert "Promised: warn 1 h and fail 2 h; it was kept throughout." in plain
    assert re.search(r"\d m?s kept", plain)


def test_a_window_that_there_is_not_and_a_dataset_that_there_is_not(looked: Looked) -> None:
    looker = looked.looker()
    assert looker.ask("/datasets/customers?window=1y").status == 404
    assert looker.ask("/datasets/nobody").status == 404
    assert looker.ask("/quarantine/nobody").status == 404
    assert looker.ask("/nowhere").status == 404
    for wrong in ("x", "1", "1/x", "-1/2", "1%2F2%2F3", "9" * 50 + "/1", "²/1"):
        assert looker.ask("/quarantine/customers?before=" + wrong.replace("²", "%C2%B2")).status == 404


def test_quarantine_is_browsed_page_by_page(looked: Looked) -> None:
    looker = looked.looker()
    first = looker.ask("/quarantine/customers")
    older = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert older
    second = looker.ask("/quarantine/customers" + unescape(older[1]))
    ids = [re.findall(r'<th scope="row">(customers/\d+/\d+)</th>', one.text) for one in (first, second)]
    assert [len(one) for one in ids] == [25, 5]
    assert len({*ids[0], *ids[1]}) == 30
    assert "tenure.max" in first.plain
    assert 'rel="next"' not in second.text
    assert "Newest rows" in second.text
    assert looker.ask("/quarantine/customers?show=all").text.count("quarantined</td>") == 25
    assert "No quarantined rows on this page" in looker.ask("/quarantine/customers?before=1/0").text


def test_values_of_personal_columns_are_for_admins(looked: Looked) -> None:
    for role, seen in (("operate", False), ("admin", True)):
        said = looked.looker(role).ask("/quarantine/customers")  # type: ignore[arg-type]
        assert ("secret-29" in said.text) is seen
        assert ("masked" in said.text) is not seen
        assert "999" in said.text


def test_what_stands_in_the_data_is_text(looked: Looked) -> None:
    looker = looked.looker("admin")
    for path in SHOWN:
        assert EVIL not in looker.ask(path).text
    assert EVIL in unescape(looker.ask("/quarantine/customers").text)
    said = looker.ask(f"/login?next=/{EVIL.replace(' ', '%20').replace(chr(39), '%22')}")
    assert "<script>document" not in said.text
    assert looker.ask("/datasets/%3Cscript%3Ealert(1)%3C%2Fscript%3E").text.count("<script") == 2


def test_model_and_events(looked: Looked) -> None:
    looker = looked.looker()
    assert "Version 1 answers" in looker.ask("/model").plain
    events = looker.ask("/events").plain
    assert "audit.apply" in events
    assert "batch.published dataset: customers, batch: 2, quarantined: 30" in events
    assert events == looker.ask("/events").plain or "Looked at" in events  # followed on, not doubled
    assert looker.ask("/events").text.count("audit.apply") == 1


def test_quarantine_needs_the_loop_and_says_so(tmp_path: Path) -> None:
    with paged(bad_shop(tmp_path, bad=1)) as looked:
        looker = looked.looker()
        said = looker.ask("/quarantine/customers")
        assert (said.status, "the loop does not run" in said.text) == (503, True)
        assert "the loop was last seen" in looker.ask("/").text or "does not run" in looker.ask("/").text
        state = SqliteState(looked.shop.place.home.state)
        assert state.scan("request") == ()
        state.close()


# --- who may see it --------------------------------------------------------------------------------------------------


def test_no_route_says_anything_to_strangers(looked: Looked) -> None:
    walked = paths(looked)
    assert len(walked) >= 9
    for cookie in ("", "mainstay_churn=", "mainstay_churn=AAAA", f"mainstay_churn={'A' * 200}", "mainstay_churn=\xe9"):
        for path, methods in walked:
            stranger = Looker(looked.port)
            stranger.cookie = cookie
            for method in sorted(methods - {"HEAD"}):
                said = stranger.ask(path, method)
                assert "person-" not in said.text
                assert "bad-" not in said.text
                assert "6" not in re.findall(r'<td class="n">(\d+)', said.text)
                if path in ("/login", "/logout") or path.startswith("/static/"):
                    continue
                assert said.status == 303, path
                assert said.headers["Location"].startswith("/login?next=")
                assert stranger.ask(path, method, HX_Request="true").status == 401


def test_head_says_what_get_would_without_the_body(looked: Looked) -> None:
    looker = looked.looker()
    assert [(said.status, said.text) for said in (looker.ask(path, "HEAD") for path in SHOWN)] == [(200, "")] * 6
    assert Looker(looked.port).ask("/", "HEAD").status == 303


def test_only_signing_in_and_out_can_be_posted(looked: Looked) -> None:
    looker = looked.looker("admin")
    for path, methods in paths(looked):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            if method not in methods:
                assert looker.ask(path, method).status == 405, (method, path)
    assert {path for path, methods in paths(looked) if "POST" in methods} == {"/login", "/logout"}


@pytest.mark.parametrize("role", ["predict", "operate", "admin"])
def test_operators_sign_in_and_callers_do_not(looked: Looked, role: str) -> None:
    looker = Looker(looked.port)
    said = looker.sign_in(looked.key(role), "/model")  # type: ignore[arg-type]
    assert said.status == (401 if role == "predict" else 303)
    assert looker.ask("/").status == (303 if role == "predict" else 200)
    if role != "predict":
        given = said.headers["Set-Cookie"].lower()
        assert said.headers["Location"] == "/model"
        assert "httponly" in given
        assert "samesite=strict" in given
        assert "; secure" not in given
        over_tls = Looker(looked.port).ask("/login", "POST", {"key": looked.key()}, X_Forwarded_Proto="https")
        assert "; secure" in over_tls.headers["Set-Cookie"].lower()


def test_a_revoked_key_ends_its_sessions_at_once_and_signing_out_ends_one(looked: Looked) -> None:
    looker = looked.looker()
    state = SqliteState(looked.shop.place.home.state)
    newest = list_keys(state)[-1]
    assert looker.ask("/").status == 200
    revoke_key(state, newest.id, clock=SystemClock())
    state.close()
    assert looker.ask("/").status == 303
    other = looked.looker()
    other.ask("/logout", "POST")
    assert other.ask("/").status == 303


def test_a_session_lives_as_long_as_the_secret_that_began_it(looked: Looked) -> None:
    looker, later = looked.looker(), Looker(looked.port)
    state = SqliteState(looked.shop.place.home.state)
    newest = list_keys(state)[-1]
    token, _ = rotate_key(state, newest.id, HOUR, clock=SystemClock())
    assert looker.ask("/").status == 200
    assert later.sign_in(token, "/").status == 303
    token, _ = rotate_key(state, newest.id, 0, clock=SystemClock())
    assert (looker.ask("/").status, later.ask("/").status) == (303, 303)
    assert later.sign_in(token, "/").status == 303
    assert later.ask("/").status == 200
    state.close()


def test_opening_a_page_lengthens_a_session_and_its_live_refresh_does_not(looked: Looked) -> None:
    looker = looked.looker()
    assert "Set-Cookie" in looker.ask("/").headers
    assert "Set-Cookie" not in looker.ask("/", HX_Request="true").headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 303),
    ],
)
def test_a_form_from_elsewhere_is_not_taken(looked: Looked, headers: dict[str, str], status: int) -> None:
    stranger = Looker(looked.port)
    assert stranger.ask("/login", "POST", {"key": looked.key()}, **headers).status == status
    assert stranger.ask("/logout", "POST", {}, **headers).status == status
    assert stranger.ask("/login", "POST", {"key": looked.key()}, Origin=f"http://127.0.0.1:{looked.port}").status == 303


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example", "/\\evil.example", "x", "/\r\nX: y", ""])
def test_signing_in_leads_nowhere_else(looked: Looked, target: str) -> None:
    assert Looker(looked.port).sign_in(looked.key(), target).headers["Location"] == "/"


def test_a_key_that_is_none(looked: Looked) -> None:
    stranger = Looker(looked.port)
    for given in ("", "msk_a_b", "x" * 10_000, "ü"):
        said = stranger.sign_in(given)
        assert said.status in (401, 413)
        assert "Set-Cookie" not in said.headers
    assert stranger.ask("/login", "POST", None).status == 401


def test_every_answer_forbids_scripts_of_others_and_asking_elsewhere(looked: Looked) -> None:
    looker = looked.looker()
    for path in (*SHOWN, "/login", "/nowhere", "/static/style.css", "/static/live.js", "/static/site.py"):
        said = looker.ask(path)
        policy = said.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http:" not in policy
        assert said.headers["X-Content-Type-Options"] == "nosniff"
        assert said.headers["Cache-Control"] == "no-store"
        assert not re.search(
            r"<style|\sstyle=|\son\w+=|<script(?! src=\"/static/(?:htmx.min|live).js\" defer>)", said.text
        )
        assert not re.search(r"(?:src|href)=\"(?![/?#])", said.text)


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_ends_by_itself() -> None:
    signer = Signer(b"s" * 32, "churn")
    value = signer.begin("abc", START_US)
    session = signer.read(value, START_US + IDLE_US - 1)
    assert session is not None
    assert signer.read(value, START_US + IDLE_US) is None
    renewed = signer.read(signer.renew(session, START_US + IDLE_US - 1), START_US + IDLE_US)
    assert renewed is not None
    last = signer.renew(renewed, START_US + MOST_US - MINUTE)
    assert signer.read(last, START_US + MOST_US - 1) is not None
    assert signer.read(last, START_US + MOST_US) is None
    assert signer.read(value, START_US - DAY) is None


def test_a_session_of_another_secret_integration_or_with_one_changed_byte_is_none() -> None:
    signer = Signer(b"s" * 32, "churn")
    value = signer.begin("abc", START_US)
    assert Signer(b"t" * 32, "churn").read(value, START_US) is None
    assert Signer(b"s" * 32, "prices").read(value, START_US) is None
    for n in range(0, len(value), 7):
        changed = value[:n] + ("B" if value[n] != "B" else "C") + value[n + 1 :]
        assert signer.read(changed, START_US) is None
    assert signer.read("", START_US) is None
    assert IDLE_US == HOUR


# --- served by `mainstay up` -----------------------------------------------------------------------------------------


def test_up_serves_it_when_asked_to(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin()
    with (tmp_path / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mainstay", "up", "--port", "0", "--status-port", "0"],
            cwd=tmp_path, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        port = _port_of(tmp_path / "up.log", process)
        looked = Looked(shop, port)
        looker = looked.looker()
        assert "status-page pid" in _until(looker, "/", "status-page pid")
        made = subprocess.run(
            [sys.executable, "-m", "mainstay", "--json", "status"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert json.loads(made.stdout)["integration"] == "churn"
        assert "No quarantined rows" in looker.ask("/quarantine/customers").text
        assert f"control API on http://127.0.0.1:{port}/control/v1  (API key of role admin)" in _log(tmp_path)
        caller = Caller(port, looked.key("admin"))
        assert caller.ask("GET", "/control/v1/status").json["integration"] == "churn"
        assert caller.ask("POST", "/control/v1/run").json["results"][0]["dataset"] == "customers"
        assert caller.ask("POST", "/control/v1/models/1/use").json["version"] == 1
        caller.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()


def test_the_process_ends_when_told_and_says_why_it_cannot_start(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin()
    with listen("127.0.0.1", 0) as listening:
        argv = [sys.executable, "-m", "mainstay.web.serve", "--home", str(shop.home), "--integration", "churn",
                "--fd", str(listening.fileno())]  # fmt: skip
        process = subprocess.Popen(argv, pass_fds=(listening.fileno(),), stderr=subprocess.PIPE, text=True)
        looker = Looker(int(listening.getsockname()[1]))
        assert looker.ask("/login").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0
        (shop.home / "secret").unlink()
        made = subprocess.run(argv, pass_fds=(listening.fileno(),), capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "the status page cannot start: " in made.stderr
    assert "secret" in made.stderr
    assert "Traceback" not in made.stderr


def test_a_port_that_is_taken_is_said_and_keeps_nothing_else_from_running(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin()
    state, said = SqliteState(shop.place.home.state), list[str]()
    with listen("127.0.0.1", 0) as taken:
        page = StatusPage(port=int(taken.getsockname()[1]))
        assert listen_for_page(state, SystemClock(), page, said.append, most_s=0.05) is None
    with looped(shop):
        deadline, told = time.monotonic() + 60, list[Finding]()
        while not told and time.monotonic() < deadline:  # until the loop has said that it is there
            told = [one for one in read_status(shop.place, SystemClock()).wrong if "status-page" in one.check]
            time.sleep(0.05)
    (found,) = told
    assert found.verdict == "WARN"
    for words in (f"port {page.port}", "settings: {status_page: {port: ...}}", "mainstay up"):
        assert words in found.sentence
        assert words == "mainstay up" or words in said[-1]
    again = listen_for_page(state, SystemClock(), StatusPage(port=0), said.append)
    assert again is not None
    again.close()
    assert listen_for_page(state, SystemClock(), None, said.append) is None
    assert state.get("process", "status-page") is None
    state.close()


def _log(folder: Path) -> str:
    return (folder / "up.log").read_text()


def _port_of(log: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = re.search(r"status page on http://127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            return int(found[1])
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _until(looker: Looker, path: str, words: str) -> str:
    deadline = time.monotonic() + 60
    plain = ""
    while words not in plain and time.monotonic() < deadline:
        plain = looker.ask(path).plain
        time.sleep(0.1)
    return plain
