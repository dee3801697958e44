"""TLS reports over days: sent once, where the domain says, and not lost by a restart."""

from __future__ import annotations

import random

from twisted.internet import defer
from twisted.internet.task import Clock

from relay.deliver.tlsrpt import DAY_S
from relay.message.address import Address
from relay.message.envelope import Composed, Notify
from relay.operate.tls_reports import SPREAD_S, TlsReports
from relay.route.https import Fetched, HttpsFault
from relay.route.names import TXT
from tests.deliver.test_tlsrpt import STS, hop
from tests.fakes.names import FakeNames
from tests.route.test_policies import Shelf


class House:
    def __init__(self, rua: str = "mailto:tls@example.org", status: int = 201) -> None:
        self.clock = Clock()
        self.clock.advance(20_000 * DAY_S + 3600)
        self.names = FakeNames(self.clock)
        self.names.add("_smtp._tls.example.org", TXT, f"v=TLSRPTv1; rua={rua}")
        self.shelf = Shelf()
        self.status = status
        self.posted: list[tuple[str, str]] = []
        self.queued: list[Composed] = []
        self.told: list[tuple[str, dict[str, object]]] = []
        self.begin()

    def begin(self) -> None:
        self.reports = TlsReports(
            clock=self.clock,
            chance=random.Random(1),
            names=self.names,
            request=self.request,
            enqueue=self.enqueue,
            shelf=self.shelf,
            tell=lambda step, /, **fields: self.told.append((step, fields)),
            hostname="relay.example",
            sender=Address("tls", "relay.example"),
            organization="Example",
        )
        self.reports.start()

    def request(self, method: str, url: str, *, kind: str = "", **more: object) -> defer.Deferred[Fetched]:
        self.posted.append((url, kind))
        if not self.status:
            return defer.fail(HttpsFault("connection", "refused"))
        return defer.succeed(Fetched(self.status, "", b""))

    async def enqueue(self, composed: Composed) -> None:
        self.queued.append(composed)

    def session(self, failure: str = "") -> None:
        self.reports.witness(hop(STS), "mx.example.org [192.0.2.1]", failure, "")

    def later(self, seconds: float) -> None:
        for _ in range(int(seconds // 600)):
            self.clock.advance(600)


def test_one_report_a_day_by_mail() -> None:
    house = House()
    house.session()
    house.session("certificate-expired")
    house.later(DAY_S / 2)
    assert not house.queued
    house.later(DAY_S / 2 + SPREAD_S)
    (composed,) = house.queued
    assert str(composed.recipients[0].address) == "tls@example.org"
    assert composed.recipients[0].notify is Notify.NEVER
    house.later(3 * DAY_S)
    assert len(house.queued) == 1


def test_by_https() -> None:
    """RFC 8460 §5.4."""
    house = House("https://reports.example.org/v1")
    house.session()
    house.later(DAY_S + SPREAD_S)
    assert house.posted == [("https://reports.example.org/v1", "application/tlsrpt+gzip")]
    assert house.told == [("reported", {"destination": "example.org", "place": "https://reports.example.org/v1"})]


def test_trouble_with_a_report_is_told_and_no_more() -> None:
    for status in (0, 404):
        house = House("https://reports.example.org/v1,mailto:tls@example.org", status)
        house.session()
        house.later(2 * DAY_S + SPREAD_S)
        assert [step for step, _ in house.told] == ["trouble", "reported"]
        assert len(house.queued) == 1


def test_a_domain_that_no_longer_asks_gets_none() -> None:
    house = House()
    house.session()
    house.names.remove("_smtp._tls.example.org")
    house.later(2 * DAY_S)
    assert not house.queued and not house.told


def test_what_was_counted_before_a_restart_is_reported_after_it() -> None:
    house = House()
    house.session()
    house.reports.stop()
    assert not house.clock.getDelayedCalls()
    house.later(2 * DAY_S)
    house.begin()
    house.later(SPREAD_S + 600)
    assert len(house.queued) == 1
