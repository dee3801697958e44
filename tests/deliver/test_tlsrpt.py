"""TLS reports: what is counted, and what is said of it (RFC 8460)."""

from __future__ import annotations

import gzip
import json
from email import message_from_bytes

import pytest

from relay.deliver.tlsrpt import DAY_S, DETAILS_LIMIT, Tally, destinations, mail, mailbox_of, report
from relay.message.address import Address
from relay.route.tls import Policed

STS = Policed("example.org", "sts", ("version: STSv1", "mode: testing"), ("*.example.org",))
CONTACT = Address("tls", "relay.example")
DAY = 20_000


def count(tally: Tally, failure: str = "", why: str = "", policed: Policed = STS, day: int = DAY) -> None:
    tally.count(day * DAY_S + 5, policed, "mx.example.org [192.0.2.1]", failure, why, "198.51.100.1")


def test_the_report_of_a_day() -> None:
    """RFC 8460 §4.4."""
    tally = Tally()
    for _ in range(3):
        count(tally)
    for _ in range(2):
        count(tally, "certificate-host-mismatch", "its certificate is not for mx.example.org")
    ((day, domain, policies),) = tally.by_domain(DAY + 1)
    made = report(domain, day, policies, "relay.example", "Example Inc.", CONTACT)
    assert json.loads(gzip.decompress(made.json)) == {
        "organization-name": "Example Inc.",
        "date-range": {"start-datetime": "2024-10-04T00:00:00Z", "end-datetime": "2024-10-04T23:59:59Z"},
        "contact-info": "tls@relay.example",
        "report-id": made.id,
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-domain": "example.org",
                    "policy-string": ["version: STSv1", "mode: testing"],
                    "mx-host": ["*.example.org"],
                },
                "summary": {"total-successful-session-count": 3, "total-failure-session-count": 2},
                "failure-details": [
                    {
                        "result-type": "certificate-host-mismatch",
                        "sending-mta-ip": "198.51.100.1",
                        "receiving-mx-hostname": "mx.example.org",
                        "receiving-ip": "192.0.2.1",
                        "failed-session-count": 2,
                        "failure-reason-code": "its certificate is not for mx.example.org",
                    }
                ],
            }
        ],
    }


def test_a_day_is_told_when_it_is_over_and_once() -> None:
    tally = Tally()
    count(tally)
    count(tally, policed=Policed("example.net"))
    count(tally, day=DAY + 1)
    assert list(tally.by_domain(DAY)) == []
    assert [domain for _, domain, _ in tally.by_domain(DAY + 1)] == ["example.org", "example.net"]
    tally.forget(DAY + 1)
    assert list(tally.by_domain(DAY + 1)) == [] and list(tally.days) == [DAY + 1]


def test_what_several_workers_have_seen_is_one_report() -> None:
    one, other, both = Tally(), Tally(), Tally()
    for tally in (one, other):
        count(tally)
        count(tally, "certificate-expired", "it has expired")
    count(other, policed=Policed("example.net"))
    both.add(one)
    both.add(other)
    told = {domain: policies for _, domain, policies in both.by_domain(DAY + 1)}
    assert told["example.org"][STS].succeeded == 2
    assert list(told["example.org"][STS].failed.values()) == [2]
    assert told["example.net"][Policed("example.net")].succeeded == 1


def test_dane_is_told_under_the_name_where_the_records_are() -> None:
    """RFC 8460 §1.1: the policy's domain is the TLSA base domain; an address that was not reached is left out."""
    tally = Tally()
    policed = Policed("example.org", "tlsa", ("3 1 1 00",), base="mx.example.net")
    tally.count(DAY * DAY_S, policed, "mx.example.net", "dnssec-invalid", "SERVFAIL")
    ((day, domain, policies),) = tally.by_domain(DAY + 1)
    assert domain == "example.org"
    (told,) = json.loads(gzip.decompress(report(domain, day, policies, "relay.example", "", CONTACT).json))["policies"]
    assert told["policy"] == {"policy-type": "tlsa", "policy-domain": "mx.example.net", "policy-string": ["3 1 1 00"]}
    assert told["failure-details"] == [
        {
            "result-type": "dnssec-invalid",
            "receiving-mx-hostname": "mx.example.net",
            "failure-reason-code": "SERVFAIL",
            "failed-session-count": 1,
        }
    ]


def test_what_is_counted_has_bounds() -> None:
    """A hop with a new excuse each time must not fill our memory."""
    tally = Tally()
    for number in range(5 * DETAILS_LIMIT):
        count(tally, "validation-failure", f"excuse {number}")
    ((_, _, policies),) = tally.by_domain(DAY + 1)
    assert len(policies[STS].failed) == DETAILS_LIMIT
    assert sum(policies[STS].failed.values()) == 5 * DETAILS_LIMIT


def test_counts_survive_a_restart() -> None:
    tally = Tally()
    count(tally)
    count(tally, "certificate-expired", "it has expired")
    count(tally, policed=Policed("example.org", "tlsa", base="mx.example.org"))
    tally.told = DAY
    again = Tally()
    again.load(tally.dump())
    assert (again.days, again.told) == (tally.days, DAY)
    for broken in (None, "", "{", "[1]", '[["x"]]', "{}", '{"sessions": 1}', '{"sessions": [[1, ["x"], 1, []]]}'):
        Tally().load(broken)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("v=TLSRPTv1; rua=mailto:tls@example.org", ("mailto:tls@example.org",)),
        (
            "v=TLSRPTv1;rua=https://r.example/v1,mailto:tls@example.org;",
            ("https://r.example/v1", "mailto:tls@example.org"),
        ),
        ("v=TLSRPTv1; ext=1; rua=mailto:a@x.example", ("mailto:a@x.example",)),
        ("v=TLSRPTv1; rua=http://r.example", ()),
        ("v=TLSRPTv1; rua=file:///etc/passwd", ()),
        ("v=TLSRPTv1", ()),
        ("v=TLSRPTv2; rua=mailto:a@x.example", ()),
        ("v=TLSRPTv1 ; rua=MAILTO:a@x.example , HTTPS://r.example", ("mailto:a@x.example", "https://r.example")),
        ("v=TLSRPTv1; rua=" + ",".join(["mailto:a@x.example"] * 9), ("mailto:a@x.example",) * 3),
    ],
)
def test_where_reports_go(record: str, expected: tuple[str, ...]) -> None:
    """RFC 8460 §3."""
    assert destinations(["unrelated", record]) == expected
    assert destinations([record, record]) == ()
    assert destinations(["v=TLSRPTv1", "v=TLSRPTv12; rua=mailto:b@x.example", record]) == expected


def test_a_mailbox_that_is_none() -> None:
    assert str(mailbox_of("mailto:tls@example.org?subject=x")) == "tls@example.org"
    assert str(mailbox_of("mailto:tls%2Bus%21@example.org")) == "tls+us!@example.org"  # RFC 8460 §3: "!" is encoded
    assert mailbox_of("mailto:tls%0d%0a@example.org") is None and mailbox_of("mailto:%ff@example.org") is None
    assert mailbox_of("mailto:tls@example.org\r\nBcc: x@y.example") is None
    assert mailbox_of("mailto:") is None


def test_the_report_as_a_message() -> None:
    """RFC 8460 §5.3: the submitter is the domain of the contact; it goes though TLS is broken (RFC 8689 §3)."""
    tally = Tally()
    count(tally)
    ((day, domain, policies),) = tally.by_domain(DAY + 1)
    made = report(domain, day, policies, "relay.example", "Example", CONTACT)
    content = mail(made, Address("tls", "example.org"), CONTACT, "host.relay.example", 0.0)
    assert b"\n" not in content.replace(b"\r\n", b"") and max(map(len, content.split(b"\r\n"))) < 200
    message = message_from_bytes(content)
    assert message.get_content_type() == "multipart/report" and message.get_param("report-type") == "tlsrpt"
    assert (message["TLS-Report-Domain"], message["TLS-Report-Submitter"]) == ("example.org", "relay.example")
    assert message["TLS-Required"] == "No"
    words, data = message.get_payload()
    assert words.get_content_type() == "text/plain"  # type: ignore[union-attr]
    assert data.get_content_type() == "application/tlsrpt+gzip"  # type: ignore[union-attr]
    assert data.get_filename().startswith("relay.example!example.org!1728000000!1728086399!")  # type: ignore[union-attr]
    assert data.get_payload(decode=True) == made.json  # type: ignore[union-attr]
