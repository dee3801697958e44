"""What relay init decides, and the configuration that it makes of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.operate.config import load
from relay.operate.init.plan import Lan, Plan, SmartHost, configuration, doubts, parse_smart_host, scalar
from relay.operate.places import read_yaml

HOME = Lan(ip_network("192.168.1.0/24"), "eth0")
PLAN = Plan("gate.example.org", Path("/var/spool/relay"), ("tcp:25",), None, (HOME,), "admin@example.org")


def loaded(plan: Plan, tmp_path: Path) -> object:
    (tmp_path / "relay.yaml").write_text(configuration(plan, "2026-11-26"), encoding="utf-8")
    return load(tmp_path / "relay.yaml")


def test_the_configuration_says_what_was_decided(tmp_path: Path) -> None:
    (tmp_path / "password").touch()
    (tmp_path / "ca.pem").touch()
    host = SmartHost(
        "smtp.provider.example", 587, False, "me@provider.example", tmp_path / "password", tmp_path / "ca.pem"
    )
    lans = (HOME, Lan(ip_network("fd00::/64")))
    config = loaded(replace(PLAN, smart_host=host, lans=lans, user="relay", maildrop=Path("/var/spool/drop")), tmp_path)
    assert (config.hostname, str(config.spool), config.user) == ("gate.example.org", "/var/spool/relay", "relay")
    assert [str(one) for one in config.accept.networks] == ["127.0.0.0/8", "::1/128", "192.168.1.0/24", "fd00::/64"]
    (route,) = config.routes
    assert (route.to, route.user, route.tls, route.authorities) == (
        "*",
        "me@provider.example",
        "verify",
        tmp_path / "ca.pem",
    )
    assert str(config.sendmail.maildrop) == "/var/spool/drop"
    assert str(config.postmaster) == "admin@example.org" and set(config.forward) == {"root", "@gate.example.org"}
    assert config.warnings == ()


def test_every_line_has_a_word_beside_it_and_nothing_is_said_that_is_not_needed(tmp_path: Path) -> None:
    text = configuration(PLAN, "2026-11-26")
    assert len(text.splitlines()) < 40 and "# eth0" in text and "#     via: smtp://" in text
    assert loaded(PLAN, tmp_path).routes == ()
    bare = configuration(replace(PLAN, postmaster=None, lans=()), "2026-11-26")
    assert "forward" not in bare and "postmaster" not in bare and "sendmail" not in bare


@pytest.mark.parametrize(
    ("hostname", "is_whole"), [("example.org", False), ("gate.lan", True), ("a.example.org", True), ("gate", True)]
)
def test_the_users_of_a_machine_are_not_the_users_of_a_domain(hostname: str, is_whole: bool) -> None:
    """Who calls the relay example.org must not get all mail for people there."""
    text = configuration(replace(PLAN, hostname=hostname), "2026-11-26")
    assert (f'"@{hostname}":' in text) is is_whole and "root: admin@example.org" in text


@given(st.text(max_size=30))
def test_whatever_was_typed_is_one_value(text: str) -> None:
    if not all(one.isprintable() or one in "\t\n\r" for one in text):
        return
    assert read_yaml(f"key: {scalar(text)}  # comment\n", "x").data == {"key": text}


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "true",
        "null",
        "None",
        "1",
        "1e3",
        "::1",
        "a: b",
        "a #b",
        "*",
        "&x",
        "[x]",
        "{x}",
        "- x",
        "'",
        '"',
        "%",
        "@x",
        "",
        " x",
        "0x10",
        "smtp://[::1]:25",
    ],
)
def test_words_with_a_meaning_stay_text(text: str) -> None:
    assert read_yaml(f"key: {scalar(text)}\n", "x").data == {"key": text}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("smtp.provider.example", "smtp://smtp.provider.example:587"),
        ("smtp.provider.example:25", "smtp://smtp.provider.example:25"),
        ("smtp.provider.example:465", "smtps://smtp.provider.example:465"),
        ("smtps://smtp.provider.example", "smtps://smtp.provider.example:465"),
        ("smtp://smtp.provider.example:465", "smtp://smtp.provider.example:465"),
        ("[192.168.1.5]:2525", "smtp://192.168.1.5:2525"),
        ("[2001:db8::1]", "smtp://[2001:db8::1]:587"),
        ("192.168.1.5", "smtp://192.168.1.5:587"),
    ],
)
def test_a_smart_host_has_a_port_whether_it_is_given_or_not(text: str, url: str) -> None:
    assert parse_smart_host(text).url == url


@pytest.mark.parametrize(
    "text", ["", "a b", "host:0", "host:65536", "http://host", "host:smtp", "me@host", "2001:db8::1"]
)
def test_what_is_no_host_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it like smtp\.provider\.example"):
        parse_smart_host(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lans": (Lan(ip_network("0.0.0.0/0")),)}, "open relay"),
        ({"lans": (Lan(ip_network("8.8.8.0/24")),)}, "all 256 addresses in it may send"),
        ({"lans": (Lan(ip_network("2a00::/32")),)}, "its many addresses"),
        ({"listen": ("tcp:25:interface=127.0.0.1",)}, "listens on this machine only"),
        ({"smart_host": None}, "port 25"),
        ({"smart_host": SmartHost("smtp.provider.example", 587)}, "there is no login"),
        ({"hostname": "gate"}, "has no dot"),
        ({"postmaster": None}, "nobody reads the mail"),
    ],
)
def test_what_is_open_or_will_not_work_is_said(change: dict[str, object], words: str) -> None:
    assert any(words in doubt for doubt in doubts(replace(PLAN, **change)))


def test_what_is_well_raises_no_doubt() -> None:
    assert list(doubts(replace(PLAN, smart_host=SmartHost("mail.lan", 25)))) == []
