"""MTA-STS policies as domains write them (RFC 8461 §3, §4)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.route.sts import Mode, Policy, PolicyFault, parse_policy, policy_id

TEXT = (
    b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n"
    b"mx: backupmx.example.com\r\nmax_age: 604800\r\n"
)


def test_the_policy_of_the_law() -> None:
    """RFC 8461 §3.2, the example."""
    policy = parse_policy(TEXT)
    assert policy == Policy(Mode.ENFORCE, ("mail.example.com", "*.example.net", "backupmx.example.com"), 604800)
    assert parse_policy("\r\n".join(policy.lines()).encode()) == policy


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace(b"\r\n", b"\n"),
        TEXT.rstrip(),
        b"\n" + TEXT,
        TEXT.replace(b": ", b" :  "),
        b"future: x\n" + TEXT,
        "future: a\u2028b\x85c\x0bd\n".encode() + TEXT,
        TEXT + b"mode: none\n",
        TEXT.replace(b"mail.example", b"MAIL.Example"),
    ],
)
def test_a_policy_may_be_written_otherwise(text: bytes) -> None:
    """Either line end, unknown keys; of a repeated key the first counts (RFC 8461 §3.2)."""
    assert parse_policy(text) == parse_policy(TEXT)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>Not found</html>",
        TEXT.replace(b"STSv1", b"STSv2"),
        TEXT.replace(b"version: STSv1\r\n", b""),
        TEXT.replace(b"enforce", b"enforced"),
        TEXT.replace(b"max_age: 604800", b"max_age: -1"),
        TEXT.replace(b"max_age: 604800", b"max_age: 1e9"),
        TEXT.replace(b"max_age: 604800\r\n", b""),
        TEXT.replace(b"mx: ", b"ms: "),
        TEXT.replace(b"*.example.net", b"*"),
        TEXT.replace(b"*.example.net", b"mail.*.net"),
        TEXT.replace(b"*.example.net", b"[192.0.2.1]"),
        TEXT.replace(b"example.net", b"\xff.net"),
    ],
)
def test_what_is_no_policy(text: bytes) -> None:
    with pytest.raises(PolicyFault):
        parse_policy(text)


@given(st.binary(max_size=300))
def test_whatever_a_web_server_sends_is_a_policy_or_a_fault(text: bytes) -> None:
    with contextlib.suppress(PolicyFault):
        parse_policy(text)


def test_a_policy_of_mode_none_needs_no_hosts() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 86400\n").mode is Mode.NONE


def test_a_very_long_life_is_cut() -> None:
    """RFC 8461 §3.2: about a year at most."""
    assert parse_policy(TEXT.replace(b"604800", b"9999999999")).max_age_s == 31_557_600


@pytest.mark.parametrize(
    "host, allowed",
    [
        ("mail.example.com", True),
        ("a.example.net", True),
        ("example.net", False),
        ("b.a.example.net", False),
        ("other.example.com", False),
        ("aexample.net", False),
    ],
)
def test_which_hosts_a_policy_allows(host: str, allowed: bool) -> None:
    """RFC 8461 §4.1: a wildcard is one label, the leftmost."""
    assert parse_policy(TEXT).allows(host) is allowed


@pytest.mark.parametrize(
    "records, found",
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=spf1 -all", "v=STSv1; id=a1; ext=x"], "a1"),
        ([], None),
        (["v=spf1 -all"], None),
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], None),
        (["v=STSv1;"], None),
        (["v=STSv1; id=;"], None),
        (["v=STSv1; id=with-dash;"], None),
        (["v=STSv1; id=" + "a" * 33], None),
        (["v=STSv10; id=1;"], None),
        (["V=STSv1; id=1;"], None),
        (["v=STSv1 id=1;"], None),
        (["v=STSv1 ;\tid=1 ; ext=a:b<c>d"], "1"),
        (["v=STSv1; id=1; id=2"], "1"),
        (["v=STSv1", "v=STSv1; id=1;"], "1"),  # what does not begin with v=STSv1; is none
        (["v=STSv1; id = 1;"], None),
        (["v=STSv1; id=1; e x=y;"], None),
        (["v=STSv1; id=1; ext=a\u00e4;"], None),
        (["v=STSv1;; id=1;"], None),
    ],
)
def test_the_record_that_names_a_policy(records: list[str], found: str | None) -> None:
    assert policy_id(records) == found
