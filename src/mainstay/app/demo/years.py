"""What keeps an integration going for years: a page for the morning, a backup that was tried, a second use case."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.parse
import urllib.request

from mainstay.app.demo.scene import Scene


def status_page(scene: Scene) -> None:
    """What a person's browser does with the status page: sent to sign in, then shown all that `status` says."""
    world, screen = scene.world, scene.screen
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    with browser.open(world.status_url, timeout=10) as reply:
        stranger = reply.read().decode()
    screen.fact(f"{world.status_url}: sign in with an API key of role operate")
    screen.expect(
        "customers" not in stranger and "API key" in stranger, "a stranger is shown the way in, and nothing else"
    )
    form = urllib.parse.urlencode({"key": world.api_key, "next": "/"}).encode()
    request = urllib.request.Request(f"{world.status_url}/login", form, {"Origin": world.status_url})  # noqa: S310 - ours
    with browser.open(request, timeout=10) as reply:
        page = reply.read().decode()
    there = all(name in page for name in ("customers", "subscriptions", "tickets"))
    screen.expect(there, "whoever signs in sees each dataset's age against its promise, without a line of JavaScript")
    with browser.open(f"{world.status_url}/datasets/customers", timeout=10) as reply:
        screen.expect("<svg" in reply.read().decode(), "and how it went in the last hours, drawn")


def backup(scene: Scene) -> None:
    """A backup while everything runs, restored beside it; an old receipt is verified on what came back."""
    world, screen = scene.world, scene.screen
    file, beside = world.folder / "backup.tar.gz", world.folder / "restored"
    mark = scene.traffic.mark()
    scene.show("backup", str(file))
    tally = scene.traffic.since(mark)
    screen.expect(file.is_file(), f"the backup was made while {len(tally.answers):,} requests were answered")
    restored = scene.show("restore", str(file), "--home", str(beside))
    screen.expect(restored.code == 0, "every digest in it was compared before anything was put in place")
    ran = scene.show("receipt", "verify", scene.decided, "--home", str(beside), check=False)
    screen.expect(ran.code == 0, "the answer of before verifies on what was restored")


def second_use_case(scene: Scene) -> None:
    """The same CRM, another question: written, explained and checked by `new`."""
    world, screen = scene.world, scene.screen
    folder = world.folder / "service"
    ran = scene.show(
        "new", str(folder), "--from", "${CRM_URL}", "--table", "tickets", "--constant", "escalates_probability=0.1",
        "--yes", check=False, lines=40,
    )  # fmt: skip
    screen.expect(ran.code == 0, "from a table never described to a file that `mainstay check` passes, in one command")
    text = (folder / "mainstay.yaml").read_text("utf-8")
    guesses = len(re.findall("guess: ", text))
    screen.expect(guesses and "reader:reader" not in text, f"its {guesses} guesses stand in it with their evidence")
