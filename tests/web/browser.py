"""A real Chromium for tests: the machine's own, driven by playwright, which fetches none.

Where there is none, root gets Debian's package by apt-get; elsewhere these tests are skipped, and say why.
MAINSTAY_CHROMIUM names another one; empty, it says that there shall be none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
SHOTS = "MAINSTAY_SCREENSHOTS"
"""A folder for screenshots, for whoever wants to look at them."""


def find_chromium() -> str:
    """Its path; skips the test where there is none and none can be installed."""
    named = os.environ.get("MAINSTAY_CHROMIUM")
    if named is not None:
        return named or pytest.skip("MAINSTAY_CHROMIUM is empty: no Chromium is wanted here")
    found = _installed()
    if found is None:
        why = _install()
        found = _installed()
        if found is None:
            pytest.skip(f"no Chromium here ({why}): install the package chromium, or name one in MAINSTAY_CHROMIUM")
    return found


def _installed() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def _install() -> str:
    """Installs Debian's package where that can be done without asking anybody; what stood in the way."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return "there is no apt-get" if apt is None else "only root can install one"
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        try:
            done = subprocess.run(
                [apt, "--quiet", *command],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True, text=True, check=False, timeout=400, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"`apt-get {command[0]}` took over 400 s"
        if done.returncode and command != ["update"]:
            return f"`apt-get {' '.join(command)}` failed: {done.stderr.strip()[-200:]}"
    return "apt-get installed another"


@contextmanager
def running_browser() -> Iterator[Browser]:
    """One Chromium; every context in it has a profile of its own."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page that keeps what its console and network said."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def shot(self, name: str) -> None:
        """A screenshot, where somebody wants them."""
        folder = os.environ.get(SHOTS)
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def active(self) -> str:
        """The focused element's text or id, inside shadow roots too."""
        script = """() => { let e = document.activeElement;
            while (e && e.shadowRoot && e.shadowRoot.activeElement) e = e.shadowRoot.activeElement;
            return e ? (e.id || e.textContent || e.tagName).trim() : ''; }"""
        found: str = self.page.evaluate(script)
        return found


@contextmanager
def tab(browser: Browser, **options: Any) -> Iterator[Tab]:
    """A tab with a fresh profile. `options` are those of playwright's `new_context`."""
    context = browser.new_context(**options)
    context.set_default_timeout(30_000)
    try:
        yield Tab(context)
    finally:
        context.close()


CONTRAST = """(element) => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const lum = ([r, g, b]) => [r, g, b].map(part)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let behind = element, colour;
  do {
    colour = parse(getComputedStyle(behind).backgroundColor);
    behind = behind.parentElement || behind.getRootNode().host;
  } while (behind && (colour.length < 3 || colour[3] === 0));
  if (colour.length < 3 || colour[3] === 0) colour = [255, 255, 255];
  const [a, b] = [lum(parse(getComputedStyle(element).color)), lum(colour)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""
"""WCAG's contrast of an element's text with what is behind it."""
