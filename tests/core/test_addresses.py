"""An address in the web is read in one place: by the file, by the runtime, and where it decides who gets in."""

from __future__ import annotations

import pytest

from mainstay.core.addresses import Target, names_user, safe, target
from mainstay.core.errors import ModelRefused
from mainstay.models.runtimes.http_address import target_of
from mainstay.spec.faults import Faults
from mainstay.spec.http_faults import cross_check_http

NOT_PLAIN = [
    "ftp://a/b", "file:///etc/passwd", "a.example.com", "http://", "http://#", "http://user:pw@a/", "https://anna@a/",
    "https://@a/", "http://a/#b", "http://a b/", "http://a:99999/", "http://a:0/", "http://[/", "http://a/\n",
]  # fmt: skip


def test_its_parts() -> None:
    assert target("https://Scores.example.com/v3?a=1") == Target(True, "scores.example.com", 443, "/v3?a=1")
    found = target("http://[::1]:9000")
    assert found == Target(False, "::1", 9000, "/")
    assert (found.origin, Target(True, "a", 443, "/").origin) == ("[::1]:9000", "a")
    assert target("https://a/b@c") == Target(True, "a", 443, "/b@c"), "this names nobody"


def test_who_is_named_in_it() -> None:
    assert [names_user(url) for url in ("https://anna@a/", "https://a/b@c", "http://[anna@")] == [True, False, True]


@pytest.mark.parametrize("url", NOT_PLAIN)
def test_what_is_not_plain_is_so_everywhere(url: str) -> None:
    assert target(url) is None
    assert not safe(url)
    with pytest.raises(ModelRefused) as raised:
        target_of(url)
    assert "pw" not in str(raised.value)
    faults = Faults("mainstay.yaml")
    cross_check_http(("model", "http"), {"http": {"url": url}, "outputs": {"y": {"type": "number"}}}, faults)
    assert faults.known(("model", "http", "url"))


def test_a_model_is_asked_by_an_address_in_ascii() -> None:
    assert safe("https://münchen.example/")
    with pytest.raises(ModelRefused):
        target_of("https://münchen.example/")
