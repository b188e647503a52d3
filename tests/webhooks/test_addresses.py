"""Where webhooks may be sent: public addresses, and what operators name."""

from typing import Any

import pytest

from builds.engines.base_images import addresses as rules
from webhooks import addresses
from webhooks.addresses import BadUrl, check_url, open_addresses, parse_url


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "header"),
    [
        ("https://example.com", "example.com", 443, "/", "example.com"),
        ("https://example.com:8443/a?b=c", "example.com", 8443, "/a?b=c", "example.com:8443"),
        ("http://EXAMPLE.com./a%20b", "example.com", 80, "/a%20b", "example.com"),
        ("http://[2606:4700::1]:81/", "2606:4700::1", 81, "/", "[2606:4700::1]:81"),
    ],
)
def test_urls_of_the_web_are_taken(url: str, host: str, port: int, path: str, header: str) -> None:
    found = parse_url(url)
    assert (found.host, found.port, found.path) == (host, port, path)
    assert found.host_header == header


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "unix:///run/docker.sock",
        "https://",
        "https:///path",
        "https://user:secret@example.com/",
        "https://@example.com/",
        "https://example.com/#part",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/a b",
        "https://example.com/\r\nX: y",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:port/",
        "https://[::1/",
        "https://ex%61mple.com/",
        "https://bücher.example/",
        "https://example.com/" + "a" * 2_048,
    ],
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        parse_url(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
    ],
)
def test_addresses_that_builds_may_not_reach_are_refused_at_once(host: str) -> None:
    with pytest.raises(BadUrl, match="no address that webhooks are sent to"):
        check_url(f"http://{host}/")


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001"])
def test_other_spellings_of_loopback_lead_nowhere(host: str) -> None:
    with pytest.raises(BadUrl):
        open_addresses(parse_url(f"http://{host}/"))


def resolving(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    policy = rules.current_policy(resolve=lambda *_: list(found))
    monkeypatch.setattr(addresses, "policy", lambda: policy)


def test_a_name_that_is_missing_and_one_that_is_private_are_refused_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = []
    for found in ([], ["10.0.0.1"], ["127.0.0.1", "::1"]):
        resolving(monkeypatch, *found)
        with pytest.raises(BadUrl) as problem:
            open_addresses(parse_url("https://inside.example/"))
        told.append(str(problem.value))
    assert len(set(told)) == 1


def test_only_the_public_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "10.0.0.1", "93.184.216.34", "::1")
    assert open_addresses(parse_url("https://example.com/")) == ["93.184.216.34"]


def test_what_operators_name_may_be_private(settings: Any) -> None:
    settings.WEBHOOK_HOSTS = ("127.0.0.1:8080",)
    check_url("http://127.0.0.1:8080/")
    with pytest.raises(BadUrl):
        check_url("http://127.0.0.1:8081/")
