"""TLS reports over days: sent once, where the domain says, and not lost by a restart."""

from __future__ import annotations

import gzip
import json
import random
from base64 import b64encode
from email import message_from_bytes
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.internet import defer
from twisted.internet.task import Clock

from relay.deliver.dkim import Signer
from relay.deliver.tlsrpt import DAY_S
from relay.message.address import Address
from relay.message.envelope import Composed, Notify
from relay.operate.tls_reports import KEPT_DAYS, SPREAD_S, Others, TlsReports
from relay.route.https import Fetched, HttpsFault
from relay.route.names import TXT
from relay.route.policies import Shelf as ShelfOf
from tests.deliver.test_tlsrpt import STS
from tests.fakes.names import FakeNames
from tests.route.test_policies import Shelf


class House:
    def __init__(self, rua: str = "mailto:tls@example.org", status: int = 201, signer: Signer | None = None) -> None:
        self.signer = signer
        self.clock = Clock()
        self.clock.advance(20_000 * DAY_S + 3600)
        self.names = FakeNames(self.clock)
        self.names.add("_smtp._tls.example.org", TXT, f"v=TLSRPTv1; rua={rua}")
        self.shelf = Shelf()
        self.status = status
        self.posted: list[tuple[str, str]] = []
        self.queued: list[Composed] = []
        self.told: list[tuple[str, dict[str, object]]] = []
        self.others: list[ShelfOf] = []
        self.begin()

    def begin(self) -> None:
        self.reports = self.reporting(self.shelf, lambda: self.others)

    def reporting(self, shelf: Shelf, others: Others | None) -> TlsReports:
        reports = TlsReports(
            clock=self.clock,
            chance=random.Random(1),
            names=self.names,
            request=self.request,
            enqueue=self.enqueue,
            shelf=shelf,
            tell=lambda step, /, **fields: self.told.append((step, fields)),
            hostname="relay.example",
            sender=Address("tls", "relay.example"),
            organization="Example",
            signer=self.signer,
            others=others,
        )
        reports.start()
        return reports

    def request(self, method: str, url: str, *, kind: str = "", **more: object) -> defer.Deferred[Fetched]:
        self.posted.append((url, kind))
        if not self.status:
            return defer.fail(HttpsFault("connection", "refused"))
        return defer.succeed(Fetched(self.status, "", b""))

    async def enqueue(self, composed: Composed) -> None:
        self.queued.append(composed)

    def session(self, failure: str = "") -> None:
        self.reports.witness(STS, "mx.example.org [192.0.2.1]", failure, "")

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


def test_what_goes_by_mail_is_signed_or_does_not_go(tmp_path: Path) -> None:
    """RFC 8460 §3."""
    key = rsa.generate_private_key(65537, 2048)
    path = tmp_path / "dkim.key"
    house = House(signer=Signer("relay.example", "tlsrpt", path))
    house.session()
    house.later(DAY_S + SPREAD_S)
    assert not house.queued
    assert "cannot be read" in str(house.told)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    house.session()
    house.later(DAY_S + SPREAD_S)
    (composed,) = house.queued
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; s=tlsrpt; p=" + b64encode(public)
    assert dkim.verify(composed.content, dnsfunc=lambda name, timeout=5: record, tlsrpt=True)


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


def sessions(composed: Composed) -> int:
    """How many successful ones a report tells of."""
    attached = message_from_bytes(composed.content).get_payload()[1]  # type: ignore[index]
    said = json.loads(gzip.decompress(attached.get_payload(decode=True)))  # type: ignore[union-attr, arg-type]
    return int(said["policies"][0]["summary"]["total-successful-session-count"])


def test_several_workers_give_one_report() -> None:
    """The first reports what all have counted, once, whoever of them restarts; the others never report."""
    house = House()
    workers = [(shelf, house.reporting(shelf, None)) for shelf in (Shelf(), Shelf())]
    house.others = [shelf for shelf, _ in workers]
    house.session()
    for _, worker in workers:
        worker.witness(STS, "mx.example.org [192.0.2.1]", "", "")
        worker.witness(STS, "mx.example.org [192.0.2.1]", "", "")
    house.later(DAY_S + SPREAD_S)
    (composed,) = house.queued
    assert sessions(composed) == 5
    house.reports.stop()
    house.begin()
    house.later(2 * DAY_S)
    assert len(house.queued) == 1, "what the others still have is not told again"


def test_a_worker_that_saw_all_of_it_need_not_be_there_any_more() -> None:
    house = House()
    shelf = Shelf()
    worker = house.reporting(shelf, None)
    worker.witness(STS, "mx.example.org [192.0.2.1]", "", "")
    worker.stop()
    house.others = [shelf]
    house.later(DAY_S + SPREAD_S)
    assert [sessions(composed) for composed in house.queued] == [1]


def test_what_nobody_reports_is_forgotten() -> None:
    house = House()
    shelf = Shelf()
    worker = house.reporting(shelf, None)
    for _ in range(KEPT_DAYS + 3):
        worker.witness(STS, "mx.example.org [192.0.2.1]", "", "")
        house.later(DAY_S)
    assert shelf.text is not None
    assert len(json.loads(shelf.text)["sessions"]) == KEPT_DAYS + 1
