"""TLS and logging in on the way out, over real sockets, with certificates made here.

Field-notes §4: 3 injection, 4 stripping, credentials to strangers, connections shared across levels.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from twisted.internet import defer, reactor, task
from twisted.trial.unittest import TestCase

from relay.deliver.deliverer import Deliverer
from relay.deliver.opening import dial_by
from relay.deliver.settings import DeliverySettings
from relay.message.address import parse_mailbox
from relay.message.envelope import Recipient
from relay.route.credentials import Login, OAuth
from relay.route.dane import Tlsa
from relay.route.tls import NO_TLS, OPPORTUNISTIC, Level, Policed, Security
from relay.route.via import Hop
from tests.deliver.way_out import CONTENT, HEAD, Routes, message, shown
from tests.fakes.authority import Issued, authority, authority_file, issue, tlsa_of
from tests.fakes.next_hop import EVERYTHING, HANG_UP
from tests.fakes.secure_hop import SecureHop

DELIVERED = ["Delivered 250 2.0.0"]
NAME = "hop.lan.example"


class Large:
    """A content that the store gives in pieces."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def read(self) -> defer.Deferred[bytes]:
        piece, self._octets = self._octets[:65536], self._octets[65536:]
        return defer.succeed(piece)

    def close(self) -> None: ...


class Secured(TestCase):
    timeout = 20
    large = b""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.authorities = str(authority_file(self.folder))
        self.routes = Routes({}, {})
        self.told: list[tuple[str, dict[str, object]]] = []
        self.witnessed: list[tuple[str, str]] = []
        self.dialogues: list[str] = []
        self.deliverer = Deliverer(
            clock=reactor,
            dial=dial_by(reactor),
            router=self.routes,
            open_content=lambda message_id: Large(self.large),
            hostname="relay.example",
            settings=DeliverySettings(idle_s=0.5, connections_per_hop=2),
            tell=lambda step, /, **fields: self.told.append((step, fields)),
            witness=self.witness,
        )
        self.addCleanup(self.deliverer.stop)

    def witness(self, policed: Policed, label: str, failure: str, why: str, own_ip: str = "", /) -> None:
        self.witnessed.append((failure, why))
        self.ends = (label, own_ip)

    def listen(self, hop: SecureHop) -> int:
        port = reactor.listenTCP(0, hop.factory(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def deliver(
        self,
        *hops: Hop,
        require_tls: bool = False,
        content: bytes | None = CONTENT,
        sender: str | None = "ann@example.org",
    ) -> list[str]:
        self.routes.known_hops = {"example.net": hops}
        self.routes.known_addresses = {hop.host: ("127.0.0.1",) for hop in hops}
        made = message(content, size=len(HEAD) + len(self.large) if content is None else None, sender=sender)
        made = replace(made, envelope=replace(made.envelope, require_tls=require_tls))
        tried = await self.deliverer.deliver(made, [Recipient(parse_mailbox("bob@example.net"))], "example.net")
        outcomes = tried.outcomes
        self.accounts = [account for account, _ in tried.accounts]
        self.dialogues += [text for account in self.accounts for _, _, text in account.lines()]
        self.replies = [str(getattr(outcome, "reply", "")) for outcome in outcomes]
        return shown(outcomes)

    def security(self, level: Level, **more: object) -> Security:
        return Security(level, authorities=self.authorities, **more)  # type: ignore[arg-type]

    def password(self, secret: str = "secret") -> str:
        path = self.folder / f"password-{secret}"
        path.write_text(f"{secret}\n")
        return str(path)

    def steps(self, step: str) -> list[str]:
        return [str(fields.get("error")) for name, fields in self.told if name == step]


class Levels(Secured):
    async def test_opportunistic_takes_any_certificate(self) -> None:
        """RFC 7435: some protection against all, rather than all against some."""
        for certificate in (issue("other.example"), issue(NAME, by="Unknown"), issue(NAME, expired=True)):
            hop = SecureHop(certificate=certificate)
            assert await self.deliver(Hop(NAME, self.listen(hop))) == DELIVERED
            assert hop.handshakes == 1
            assert hop.commands[:3] == ["EHLO relay.example", "STARTTLS", "EHLO relay.example"]
        assert not self.told

    async def test_opportunistic_falls_back_to_plain_and_says_so(self) -> None:
        hop = SecureHop(certificate=issue(NAME), broken=True)
        assert await self.deliver(Hop(NAME, self.listen(hop))) == DELIVERED
        assert hop.sessions == 2
        (said,) = self.steps("unsecured")
        assert "TLS failed, and the next connection is plain" in said

    async def test_one_octet_too_many_behind_the_220_is_a_failure_like_others(self) -> None:
        """Mail for a host that talks too much had to wait until it expired."""
        hop = SecureHop(certificate=issue(NAME), injected=b"250 and this\r\n")
        assert await self.deliver(Hop(NAME, self.listen(hop))) == DELIVERED
        assert hop.sessions == 2
        (said,) = self.steps("unsecured")
        assert "behind its reply to STARTTLS" in said

    async def test_a_hop_without_tls_is_told_once(self) -> None:
        hop = SecureHop()
        port = self.listen(hop)
        for _ in range(3):
            assert await self.deliver(Hop(NAME, port)) == DELIVERED
        assert self.steps("unsecured") == ["TLS is not offered"]

    async def test_a_refused_starttls_leaves_the_session_plain(self) -> None:
        hop = SecureHop(certificate=issue(NAME), refusal="454 4.7.0 not now")
        assert await self.deliver(Hop(NAME, self.listen(hop))) == DELIVERED
        assert (hop.sessions, hop.handshakes) == (1, 0)

    async def test_none_says_no_starttls(self) -> None:
        hop = SecureHop(certificate=issue(NAME))
        assert await self.deliver(Hop(NAME, self.listen(hop), security=NO_TLS)) == DELIVERED
        assert "STARTTLS" not in hop.commands

    async def test_required_tls_that_is_stripped_or_refused_keeps_the_mail(self) -> None:
        for wrong in (
            SecureHop(certificate=issue(NAME), stripped=True),
            SecureHop(certificate=issue(NAME), refusal="454 4.7.0 not now"),
            SecureHop(certificate=issue(NAME), broken=True),
            SecureHop(certificate=issue(NAME), replies={"EHLO": "502 5.5.1 what?"}),
        ):
            for level in (Level.REQUIRE, Level.VERIFY):
                (outcome,) = await self.deliver(Hop(NAME, self.listen(wrong), security=self.security(level)))
                assert outcome.startswith("Deferred 4") and outcome.endswith("!"), outcome
            assert not wrong.taken
            assert not any(command.startswith("MAIL") for command in wrong.commands)

    async def test_verify_wants_a_known_authority_the_name_and_the_date(self) -> None:
        security = self.security(Level.VERIFY)
        right = SecureHop(certificate=issue(NAME))
        assert await self.deliver(Hop(NAME, self.listen(right), security=security)) == DELIVERED
        assert any("proved by a known authority" in line for line in self.dialogues)
        wildcard = SecureHop(certificate=issue("*.lan.example"))
        assert await self.deliver(Hop(NAME, self.listen(wildcard), security=security)) == DELIVERED
        for certificate, why in (
            (issue("other.example"), "not for hop.lan.example"),
            (issue("*.hop.lan.example"), "not for hop.lan.example"),
            (issue(NAME, by="Unknown"), "not trusted"),
            (issue(NAME, expired=True), "it has expired"),
        ):
            wrong = SecureHop(certificate=certificate)
            assert await self.deliver(Hop(NAME, self.listen(wrong), security=security)) == ["Deferred 451 4.7.5!"]
            assert why in self.replies[0]
            for _ in range(500):  # it is on its way when the outcome is known
                if len(wrong.commands) > 2:
                    break
                await task.deferLater(reactor, 0.01)
            said = ["EHLO relay.example", "STARTTLS", "QUIT"]  # RFC 3207 §4.1
            assert wrong.commands == said, "nothing else is said to a stranger"

    async def test_verify_by_the_systems_authorities(self) -> None:
        """Without a file of its own a route trusts whom the system trusts; not us."""
        wrong = SecureHop(certificate=issue(NAME))
        hop = Hop(NAME, self.listen(wrong), security=Security(Level.VERIFY))
        assert await self.deliver(hop) == ["Deferred 451 4.7.5!"]

    async def test_authorities_that_cannot_be_read_are_our_trouble(self) -> None:
        hop = SecureHop(certificate=issue(NAME))
        security = Security(Level.VERIFY, authorities=str(self.folder / "none.pem"))
        assert await self.deliver(Hop(NAME, self.listen(hop), security=security)) == ["Deferred 451 4.7.5!"]
        assert "none.pem cannot be used" in self.steps("trouble")[0]

    async def test_an_address_is_verified_too(self) -> None:
        hop = SecureHop(certificate=issue("127.0.0.1"))
        security = self.security(Level.VERIFY)
        assert await self.deliver(Hop("127.0.0.1", self.listen(hop), security=security)) == DELIVERED

    async def test_tls_from_the_first_octet(self) -> None:
        """RFC 8314 §3.3."""
        hop = SecureHop(certificate=issue(NAME), implicit=True)
        way = Hop(NAME, self.listen(hop), security=self.security(Level.VERIFY), implicit_tls=True)
        assert await self.deliver(way) == DELIVERED
        assert hop.commands[0] == "EHLO relay.example" and "STARTTLS" not in hop.commands
        wrong = SecureHop(certificate=issue("other.example"), implicit=True)
        assert await self.deliver(replace(way, port=self.listen(wrong))) == ["Deferred 451 4.7.5!"]
        assert wrong.commands == []

    async def test_tls_from_the_first_octet_never_falls_back(self) -> None:
        plain = SecureHop()
        way = Hop(NAME, self.listen(plain), implicit_tls=True)
        (outcome,) = await self.deliver(way)
        assert outcome.startswith("Deferred 451 4.") and not plain.taken

    async def test_a_fingerprint_is_enough_and_needed(self) -> None:
        """For a host of the LAN with a certificate of its own making."""
        import hashlib

        certificate = issue("printer.lan", by="Unknown", expired=True)
        for octets in (tlsa_of(certificate.certificate, 3, 0, 0).data, tlsa_of(certificate.certificate, 3, 1, 0).data):
            security = Security(Level.FINGERPRINT, fingerprints=(hashlib.sha256(octets).digest(),))
            hop = SecureHop(certificate=certificate)
            assert await self.deliver(Hop(NAME, self.listen(hop), security=security)) == DELIVERED
        wrong = SecureHop(certificate=issue(NAME))
        assert await self.deliver(Hop(NAME, self.listen(wrong), security=security)) == ["Deferred 451 4.7.5!"]
        assert "has the fingerprint" in self.replies[0]

    async def test_injected_replies_do_nothing_within_tls(self) -> None:
        """NO STARTTLS (USENIX Security 2021): the attacker's EHLO reply would be read as the server's."""
        for level in (Level.OPPORTUNISTIC, Level.REQUIRE, Level.VERIFY):
            hop = SecureHop(
                certificate=issue(NAME), injected=b"250-hop.example\r\n250 AUTH PLAIN\r\n", mechanisms=["PLAIN"]
            )
            login = Login("ann", self.password(), unverified=True)
            way = Hop(NAME, self.listen(hop), security=self.security(level), login=login)
            (outcome,) = await self.deliver(way)
            assert outcome.startswith("Deferred 4")
            assert not hop.taken and not hop.logins

    async def test_a_connection_serves_only_what_it_is_fit_for(self) -> None:
        """Postfix 20250619: mail that must be encrypted must not follow on a connection that is not."""
        hop = SecureHop(certificate=issue(NAME))
        port = self.listen(hop)
        levels = [NO_TLS, OPPORTUNISTIC, self.security(Level.REQUIRE), self.security(Level.VERIFY)]
        for security in levels:
            for _ in range(2):
                assert await self.deliver(Hop(NAME, port, security=security)) == DELIVERED
        assert hop.sessions == len(levels)
        assert hop.handshakes == len(levels) - 1


class Dane(Secured):
    async def attempt(self, certificate: Issued, *records: Tlsa, names: tuple[str, ...] = (NAME,)) -> str:
        hop = SecureHop(certificate=certificate)
        security = Security(Level.DANE, tlsa=records, names=names)
        (outcome,) = await self.deliver(Hop(NAME, self.listen(hop), security=security))
        assert bool(hop.taken) is outcome.startswith("Delivered")
        return outcome

    async def test_dane_ee_looks_at_the_certificate_alone(self) -> None:
        """RFC 7672 §3.1.1: neither names, nor dates, nor authorities."""
        certificate = issue("whatever.example", by="Unknown", expired=True)
        for selector in (0, 1):
            for matching in (0, 1, 2):
                assert await self.attempt(certificate, certificate.tlsa(3, selector, matching)) == DELIVERED[0]

    async def test_dane_ee_of_another_certificate(self) -> None:
        assert await self.attempt(issue(NAME), issue("other.example").tlsa()) == "Deferred 451 4.7.5!"

    async def test_one_record_of_several_is_enough(self) -> None:
        """RFC 7671 §8.1: while keys are rolled there are the old and the new."""
        assert await self.attempt(issue(NAME), issue("other.example").tlsa(), issue(NAME).tlsa()) == DELIVERED[0]

    async def test_dane_ta_vouches_for_what_the_authority_issued(self) -> None:
        """RFC 7672 §3.1.2."""
        certificate = issue(NAME, by="Unknown", through=True)
        for selector in (0, 1):
            for matching in (0, 1, 2):
                record = certificate.tlsa(2, selector, matching, place=1)
                assert await self.attempt(certificate, record) == DELIVERED[0]

    async def test_an_authority_whose_whole_certificate_is_in_the_dns_need_not_be_shown(self) -> None:
        """RFC 7671 §5.2.2: with "2 0 0", and with no other."""
        leaf = issue(NAME, by="Unknown")
        (root,) = x509.load_pem_x509_certificates(authority("Unknown").cert_pem.bytes())
        assert len(leaf.chain) == 1
        assert await self.attempt(leaf, tlsa_of(root, 2, 0, 0)) == DELIVERED[0]
        for selector, matching in ((0, 1), (1, 0), (1, 1)):
            assert await self.attempt(leaf, tlsa_of(root, 2, selector, matching)) == "Deferred 451 4.7.5!"
        (stranger,) = x509.load_pem_x509_certificates(authority("Stranger").cert_pem.bytes())
        assert await self.attempt(leaf, tlsa_of(stranger, 2, 0, 0)) == "Deferred 451 4.7.5!"
        assert await self.attempt(leaf, Tlsa(2, 0, 0, b"no certificate")) == "Deferred 451 4.7.5!"
        wrong_name = issue("other.example", by="Unknown")
        assert await self.attempt(wrong_name, tlsa_of(root, 2, 0, 0)) == "Deferred 451 4.7.5!"

    async def test_dane_ta_wants_the_name_and_the_date(self) -> None:
        wrong_name = issue("other.example", by="Unknown", through=True)
        assert await self.attempt(wrong_name, wrong_name.tlsa(2, place=1)) == "Deferred 451 4.7.5!"
        assert "not for hop.lan.example" in self.replies[0]
        assert (
            await self.attempt(wrong_name, wrong_name.tlsa(2, place=1), names=(NAME, "other.example")) == DELIVERED[0]
        )
        expired = issue(NAME, by="Unknown", expired=True, through=True)
        assert await self.attempt(expired, expired.tlsa(2, place=1)) == "Deferred 451 4.7.5!"

    async def test_an_authority_that_is_only_shown_has_not_issued(self) -> None:
        """Whoever knows the authority's certificate can put it into his own chain."""
        right, stranger = issue(NAME, by="Unknown", through=True), issue(NAME, by="Stranger")

        class Forged(Issued):
            @property
            def chain(self):  # type: ignore[no-untyped-def]
                return (stranger.certificate, right.chain[1])

        assert await self.attempt(Forged(stranger.leaf), right.tlsa(2, place=1)) == "Deferred 451 4.7.5!"
        assert "not issued by" in self.replies[0]

    async def test_the_name_that_is_asked_for(self) -> None:
        """RFC 7672 §8.1: where the TLSA records are, though the host is an alias of it; else the host itself."""
        certificate = issue(NAME)
        security = Security(Level.DANE, tlsa=(certificate.tlsa(),), names=("base.example", NAME, "example.net"))
        for asked_for, terms in (("base.example", security), (NAME, OPPORTUNISTIC)):
            hop = SecureHop(certificate=certificate)
            assert await self.deliver(Hop(NAME, self.listen(hop), security=terms)) == DELIVERED
            assert hop.asked_for == [asked_for]
        hop = SecureHop(certificate=certificate)
        assert await self.deliver(Hop("127.0.0.1", self.listen(hop))) == DELIVERED
        assert hop.asked_for == [""]

    async def test_the_strong_digest_counts(self) -> None:
        certificate = issue(NAME)
        wrong_strong = issue("other.example").tlsa(3, 1, 2)
        assert await self.attempt(certificate, certificate.tlsa(3, 1, 1), wrong_strong) == "Deferred 451 4.7.5!"

    async def test_dane_never_goes_on_in_plain(self) -> None:
        hop = SecureHop(certificate=issue(NAME), stripped=True)
        security = Security(Level.DANE, tlsa=(issue(NAME).tlsa(),))
        assert await self.deliver(Hop(NAME, self.listen(hop), security=security)) == ["Deferred 451 4.7.4!"]


class Logins(Secured):
    def way(self, hop: SecureHop, secret: str = "secret", level: Level = Level.VERIFY, **more: object) -> Hop:
        login = Login("ann@provider.example", self.password(secret), **more)  # type: ignore[arg-type]
        return Hop(NAME, self.listen(hop), security=self.security(level), login=login)

    async def test_every_mechanism(self) -> None:
        for mechanism in ("SCRAM-SHA-256", "PLAIN", "LOGIN"):
            hop = SecureHop(certificate=issue(NAME), mechanisms=[mechanism])
            assert await self.deliver(self.way(hop)) == DELIVERED
            assert hop.logins == [("ann@provider.example", mechanism, True)]
        assert not any("secret" in line for line in self.dialogues)

    async def test_the_safest_that_is_offered_or_what_the_route_says(self) -> None:
        offered = ["LOGIN", "PLAIN", "SCRAM-SHA-256"]
        hop = SecureHop(certificate=issue(NAME), mechanisms=offered)
        await self.deliver(self.way(hop))
        other = SecureHop(certificate=issue(NAME), mechanisms=offered)
        await self.deliver(self.way(other, mechanisms=("LOGIN",)))
        assert [hop.logins[0][1], other.logins[0][1]] == ["SCRAM-SHA-256", "LOGIN"]

    async def test_a_refused_login_is_our_own_trouble_and_loud(self) -> None:
        """OpenSMTPD #64, #65: it bounced the whole queue for a changed password."""
        hop = SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"])
        way = self.way(hop, "wrong")
        for _ in range(3):
            assert await self.deliver(way) == ["Deferred 535 5.7.8!"]
        (said,) = self.steps("trouble")
        assert "the login was refused" in said and "535" in said and "wrong\n" not in said
        assert hop.attempts == 3

    async def test_a_refused_login_is_not_tried_at_every_address(self) -> None:
        hop = SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"])
        way = self.way(hop, "wrong")
        self.routes.known_hops, self.routes.known_addresses = (
            {"example.net": (way,)},
            {NAME: ("127.0.0.1", "127.0.0.1")},
        )
        await self.deliverer.deliver(message(), [Recipient(parse_mailbox("bob@example.net"))], "example.net")
        assert hop.attempts == 1

    async def test_of_many_that_wait_one_tries_the_password(self) -> None:
        hop = SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"])
        way = self.way(hop, "wrong")
        self.routes.known_hops, self.routes.known_addresses = {"example.net": (way,)}, {NAME: ("127.0.0.1",)}
        bob = [Recipient(parse_mailbox("bob@example.net"))]
        under_way = [self.deliverer.deliver(message(), bob, "example.net") for _ in range(5)]
        for tried in await defer.gatherResults(under_way):
            assert shown(tried.outcomes) == ["Deferred 535 5.7.8!"]
        assert hop.attempts == 1
        assert way.login is not None
        Path(way.login.secret_file).write_text("secret\n")
        under_way = [self.deliverer.deliver(message(), bob, "example.net") for _ in range(5)]
        for tried in await defer.gatherResults(under_way):
            assert shown(tried.outcomes) == DELIVERED
        assert hop.sessions == 3, "once let in, as many as may be"

    async def test_another_smart_host_may_let_us_in(self) -> None:
        refusing, taking = (
            SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"], password=p) for p in ("x", "secret")
        )
        assert await self.deliver(self.way(refusing), self.way(taking)) == DELIVERED
        assert len(taking.taken) == 1

    async def test_no_password_for_a_stranger(self) -> None:
        """Kumo 2026: credentials went to whoever answered."""
        for hop in (
            SecureHop(mechanisms=["PLAIN"], bare=True),
            SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"], bare=True, stripped=True),
            SecureHop(certificate=issue("other.example"), mechanisms=["PLAIN"]),
            SecureHop(certificate=issue(NAME, by="Unknown"), mechanisms=["PLAIN"]),
        ):
            for level in (Level.NONE, Level.OPPORTUNISTIC, Level.REQUIRE, Level.VERIFY):
                (outcome,) = await self.deliver(self.way(hop, level=level))
                assert outcome.startswith("Deferred 451 4.7")
            assert hop.attempts == 0

    async def test_a_stranger_gets_it_when_the_route_says_so(self) -> None:
        """For the LAN's old server; the operator has written it down."""
        hop = SecureHop(mechanisms=["PLAIN"], bare=True)
        assert await self.deliver(self.way(hop, level=Level.NONE, unverified=True)) == DELIVERED
        assert hop.logins == [("ann@provider.example", "PLAIN", False)]

    async def test_a_token_goes_only_through_tls(self) -> None:
        """RFC 7628 §3, whatever the route says of strangers."""
        oauth = OAuth("https://login.example/token", "us")
        clear = SecureHop(mechanisms=["OAUTHBEARER"], bare=True)
        (outcome,) = await self.deliver(self.way(clear, level=Level.NONE, unverified=True, oauth=oauth))
        assert outcome.startswith("Deferred 451 4.7.8") and clear.logins == []
        assert "only through TLS" in self.steps("trouble")[-1]

    async def test_a_host_that_proves_itself_unasked_gets_it(self) -> None:
        hop = SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"])
        assert await self.deliver(self.way(hop, level=Level.REQUIRE)) == DELIVERED

    async def test_without_a_password_nothing_is_tried(self) -> None:
        hop = SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"])
        way = self.way(hop)
        assert way.login is not None
        for path in ("/nowhere/password", str(self.folder)):
            missing = replace(way, login=replace(way.login, secret_file=path))
            assert await self.deliver(missing) == ["Deferred 451 4.7.8!"]
        assert "cannot be read" in self.steps("trouble")[0]
        assert hop.attempts == 0

    async def test_a_hop_that_offers_no_mechanism_of_ours(self) -> None:
        hop = SecureHop(certificate=issue(NAME), mechanisms=["GSSAPI", "NTLM"])
        assert await self.deliver(self.way(hop)) == ["Deferred 451 4.7.8!"]
        assert "GSSAPI NTLM" in self.replies[0]

    async def test_a_changed_password_counts_at_once(self) -> None:
        hop = SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"])
        way = self.way(hop, "wrong")
        assert await self.deliver(way) == ["Deferred 535 5.7.8!"]
        assert way.login is not None
        Path(way.login.secret_file).write_text("secret\n")
        assert await self.deliver(way) == DELIVERED

    async def test_our_login_is_not_the_submitters(self) -> None:
        """RFC 4954 §5."""
        hop = SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"])
        assert await self.deliver(self.way(hop)) == DELIVERED
        assert hop.taken[0].sender.endswith(" AUTH=<>")

    async def test_a_host_that_does_not_know_the_parameter_gets_the_mail_without(self) -> None:
        """aiosmtpd offers AUTH and answers 555 to AUTH=<>; a bounce would be our fault."""
        for pipelining in (True, False):
            hop = SecureHop(
                certificate=issue(NAME),
                mechanisms=["PLAIN"],
                extensions=[one for one in EVERYTHING if pipelining or one != "PIPELINING"],
                unknown_parameter="AUTH=",
            )
            way = self.way(hop)
            for _ in range(2):
                assert await self.deliver(way) == DELIVERED
            mails = [command for command in hop.commands if command.startswith("MAIL")]
            assert [" AUTH=" in mail for mail in mails] == [True, False, False]

    async def test_one_that_closes_upon_the_parameter_is_not_asked_for_ever(self) -> None:
        hop = SecureHop(
            certificate=issue(NAME), mechanisms=["PLAIN"], unknown_parameter="AUTH=", replies={"RCPT": HANG_UP}
        )
        assert await self.deliver(self.way(hop)) == ["Failed 555 5.5.4"]
        assert hop.sessions == 1

    async def test_a_connection_serves_only_who_has_logged_in(self) -> None:
        hop = SecureHop(certificate=issue(NAME), mechanisms=["PLAIN"])
        way = self.way(hop)
        assert way.login is not None
        bob = replace(way, login=replace(way.login, user="bob@provider.example"))
        for each in (way, bob, way, bob):
            assert await self.deliver(each) == DELIVERED
        assert [user for user, _, _ in hop.logins] == ["ann@provider.example", "bob@provider.example"]


class Required(Secured):
    """REQUIRETLS and its opposite (RFC 8689)."""

    def way(self, hop: SecureHop, security: Security) -> Hop:
        return Hop(NAME, self.listen(hop), security=replace(security, authorities=self.authorities))

    async def test_a_message_with_requiretls_goes_to_who_promises_it(self) -> None:
        """RFC 8689 §4.2.1: the certificate is verified, the extension offered, and the parameter passed on."""
        for security in (OPPORTUNISTIC, Security(Level.VERIFY), NO_TLS):
            hop = SecureHop(certificate=issue(NAME), requiretls=True)
            assert await self.deliver(self.way(hop, security), require_tls=True) == DELIVERED
            assert hop.taken[0].sender.endswith(" REQUIRETLS")

    async def test_each_mail_host_is_asked_before_it_fails(self) -> None:
        """RFC 8689 §4.2.1: it is said to fail when there are no more of them."""
        hops = [SecureHop(certificate=issue(NAME)) for _ in range(6)]
        hops.append(SecureHop(certificate=issue(NAME), requiretls=True))
        assert len(hops) > DeliverySettings().hosts_per_attempt
        assert await self.deliver(*(self.way(hop, OPPORTUNISTIC) for hop in hops), require_tls=True) == DELIVERED
        assert len(hops[-1].taken) == 1

    async def test_and_to_nobody_else(self) -> None:
        for hop, expected in (
            (SecureHop(certificate=issue(NAME)), "Failed 550 5.7.30"),
            (SecureHop(certificate=issue("other.example"), requiretls=True), "Deferred 451 4.7.5"),
            (SecureHop(certificate=issue(NAME, by="Unknown"), requiretls=True), "Deferred 451 4.7.5"),
            (SecureHop(certificate=issue(NAME), requiretls=True, stripped=True), "Failed 550 5.7.10"),
        ):
            assert await self.deliver(self.way(hop, OPPORTUNISTIC), require_tls=True) == [expected]
            assert not hop.taken

    async def test_not_where_a_forged_mx_may_lead(self) -> None:
        hop = SecureHop(certificate=issue(NAME), requiretls=True)
        security = Security(Level.OPPORTUNISTIC, knows_name=False)
        assert await self.deliver(self.way(hop, security), require_tls=True) == ["Failed 550 5.7.10"]
        assert "nothing vouches for the mail host's name" in self.replies[0]
        assert hop.sessions == 0

    async def test_where_the_domain_promises_tls_its_absence_passes(self) -> None:
        """RFC 8461 §5: somebody has taken it out of what is offered; that is no reason to bounce."""
        hop = SecureHop(certificate=issue(NAME), requiretls=True, stripped=True)
        for level in (Level.VERIFY, Level.DANE):
            asked = Security(level, asked_for=True, tlsa=(issue(NAME).tlsa(),))
            assert await self.deliver(self.way(hop, asked), require_tls=True) == ["Deferred 451 4.7.4!"]

    async def test_a_host_without_a_vouched_name_is_passed_by(self) -> None:
        unknown, known = (SecureHop(certificate=issue(NAME), requiretls=True) for _ in range(2))
        ways = [self.way(unknown, Security(Level.OPPORTUNISTIC, knows_name=False)), self.way(known, OPPORTUNISTIC)]
        assert await self.deliver(*ways, require_tls=True) == DELIVERED
        assert not unknown.sessions and len(known.taken) == 1

    async def test_a_report_rather_goes_without_than_not_at_all(self) -> None:
        """RFC 8689 §5: first to a host that promises it; then, without, to any."""
        promising, other = (SecureHop(certificate=issue(NAME), requiretls=requiretls) for requiretls in (True, False))
        ways = [self.way(hop, OPPORTUNISTIC) for hop in (other, promising)]
        assert await self.deliver(*ways, require_tls=True, sender=None) == DELIVERED
        assert promising.taken[0].sender.endswith(" REQUIRETLS") and not other.taken
        for lesser in (
            SecureHop(certificate=issue(NAME)),
            SecureHop(certificate=issue("other.example"), requiretls=True),
            SecureHop(),
        ):
            assert await self.deliver(self.way(lesser, OPPORTUNISTIC), require_tls=True, sender=None) == DELIVERED
            assert "REQUIRETLS" not in lesser.taken[0].sender
        unknown = SecureHop(certificate=issue(NAME), requiretls=True)
        way = self.way(unknown, Security(Level.OPPORTUNISTIC, knows_name=False))
        assert await self.deliver(way, require_tls=True, sender=None) == DELIVERED
        assert unknown.taken and "REQUIRETLS" not in unknown.taken[0].sender

    async def test_what_the_domain_or_we_ask_for_holds_for_reports_too(self) -> None:
        hop = SecureHop(certificate=issue("other.example"), requiretls=True)
        way = self.way(hop, Security(Level.VERIFY))
        assert await self.deliver(way, require_tls=True, sender=None) == ["Deferred 451 4.7.5!"]

    async def test_the_next_host_may_promise_it(self) -> None:
        not_this, this = SecureHop(certificate=issue(NAME)), SecureHop(certificate=issue(NAME), requiretls=True)
        ways = [self.way(hop, OPPORTUNISTIC) for hop in (not_this, this)]
        assert await self.deliver(*ways, require_tls=True) == DELIVERED
        assert len(this.taken) == 1

    async def test_a_host_that_is_not_reached_may_promise_it_later(self) -> None:
        not_this = self.way(SecureHop(certificate=issue(NAME)), OPPORTUNISTIC)
        silent = replace(not_this, port=1)
        for ways in ((not_this, silent), (silent, not_this)):
            (outcome,) = await self.deliver(*ways, require_tls=True)
            assert outcome.startswith("Deferred")

    async def test_other_messages_do_not_say_it(self) -> None:
        hop = SecureHop(certificate=issue(NAME), requiretls=True)
        assert await self.deliver(self.way(hop, OPPORTUNISTIC)) == DELIVERED
        assert "REQUIRETLS" not in hop.taken[0].sender

    async def test_tls_required_no_gets_round_what_the_domain_asks(self) -> None:
        """RFC 8689 §3: a warning that TLS is broken must arrive though TLS is broken."""
        self.large = b"TLS-REQUIRED:\r\n no \r\nSubject: x\r\n\r\n" + b"x\r\n" * 40_000
        for content in (b"Subject: hi\r\nTLS-Required: No\r\n\r\nHello\r\n", b"tls-required: NO\r\n", None):
            hop = SecureHop(certificate=issue("other.example"))
            asked = Security(Level.VERIFY, asked_for=True, trouble="not named by the policy")
            assert await self.deliver(self.way(hop, asked), content=content) == DELIVERED

    async def test_what_only_looks_like_it_does_not(self) -> None:
        for content in (
            b"Subject: hi\r\n\r\nTLS-Required: No\r\n",
            b"X-TLS-Required: No\r\n\r\n",
            b"TLS-Required: Yes\r\n\r\n",
            b"TLS-Required: No\r\nTLS-Required: No\r\n\r\n",
        ):
            hop = SecureHop(certificate=issue("other.example"))
            asked = Security(Level.VERIFY, asked_for=True)
            assert await self.deliver(self.way(hop, asked), content=content) == ["Deferred 451 4.7.5!"]

    async def test_our_own_configuration_is_not_got_round(self) -> None:
        hop = SecureHop(certificate=issue("other.example"))
        content = b"TLS-Required: No\r\n\r\nHello\r\n"
        assert await self.deliver(self.way(hop, Security(Level.VERIFY)), content=content) == ["Deferred 451 4.7.5!"]

    async def test_a_host_that_must_not_be_talked_to_is_passed_by(self) -> None:
        """As where the DNS gives no answer for its TLSA records."""
        first, second = SecureHop(certificate=issue(NAME)), SecureHop(certificate=issue(NAME))
        trouble = Security(Level.DANE, asked_for=True, trouble="the DNS gives no answer")
        assert await self.deliver(self.way(first, trouble), self.way(second, OPPORTUNISTIC)) == DELIVERED
        assert first.sessions == 0
        assert await self.deliver(self.way(first, trouble)) == ["Deferred 451 4.7.5!"]
        assert "the DNS gives no answer" in self.replies[0]


class Witnessed(Secured):
    async def test_what_tls_reports_are_to_say(self) -> None:
        """RFC 8460 §4.3; nothing is told of hops nobody wants reports of."""
        policed = Policed("example.net", "sts")
        cases: list[tuple[SecureHop, Level, bool, str]] = [
            (SecureHop(certificate=issue(NAME)), Level.VERIFY, False, ""),
            (SecureHop(certificate=issue("other.example")), Level.VERIFY, False, "certificate-host-mismatch"),
            (SecureHop(certificate=issue(NAME, expired=True)), Level.VERIFY, False, "certificate-expired"),
            (SecureHop(certificate=issue(NAME, by="Unknown")), Level.VERIFY, False, "certificate-not-trusted"),
            (SecureHop(), Level.VERIFY, False, "starttls-not-supported"),
            (SecureHop(certificate=issue(NAME), broken=True), Level.VERIFY, False, "validation-failure"),
            (SecureHop(certificate=issue(NAME, by="Unknown")), Level.OPPORTUNISTIC, False, ""),
            (SecureHop(certificate=issue("other.example")), Level.OPPORTUNISTIC, True, "certificate-host-mismatch"),
            (SecureHop(), Level.OPPORTUNISTIC, False, "starttls-not-supported"),
        ]
        for hop, level, testing, failure in cases:
            security = self.security(level, policed=policed, testing=testing)
            await self.deliver(Hop(NAME, self.listen(hop), security=security))
            assert [kind for kind, _ in self.witnessed] == [failure]
            assert self.ends == (f"{NAME} [127.0.0.1]", "127.0.0.1")
            self.witnessed.clear()
        await self.deliver(Hop(NAME, self.listen(SecureHop())))
        assert not self.witnessed

    async def test_a_host_that_is_passed_by_is_told_of_too(self) -> None:
        """RFC 8460 §4.3.2: no TLSA answer, or a host that the policy does not name."""
        security = Security(
            Level.DANE, trouble="no answer", failure="dnssec-invalid", policed=Policed("example.net", "tlsa")
        )
        hop = Hop(NAME, self.listen(SecureHop()), security=security)
        await self.deliver(hop)
        assert self.witnessed == [("dnssec-invalid", "no answer")] and self.ends == (NAME, "")
        await self.deliver(replace(hop, security=replace(security, policed=None)))
        assert len(self.witnessed) == 1
