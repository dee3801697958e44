"""The resolver against a real DNS server on loopback, over real sockets."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
from twisted.internet import defer, reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, TestCase

from relay.route import plain
from relay.route import resolver as module
from relay.route.dane import Tlsa
from relay.route.first import system_stub
from relay.route.hosts import LOOK_AGAIN_S
from relay.route.names import AAAA, CNAME, MX, PTR, TLSA, TXT, A, Found, Kind, Missing, Mx, Trouble
from relay.route.resolver import RECORDS_LIMIT, Resolver, parse_server
from tests.fakes.dns_server import NEGATIVE_TTL_S, DnsServer


class LateReactor:
    """The real reactor's sockets, with a clock that a test can set ahead for what has been answered."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def seconds(self) -> float:
        return reactor.seconds() + self.ahead_s

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class ResolverTests(TestCase):
    def setUp(self) -> None:
        self.server = DnsServer().start()
        self.addCleanup(self.server.stop)
        self.reactor = LateReactor()
        self.resolver = self.make()

    def make(self, **wishes: Any) -> Resolver:
        return Resolver(self.reactor, **{"servers": [self.server.address], "patience_s": 5.0} | wishes)

    def soon(self, patience_s: float = 0.2) -> Resolver:
        return self.make(patience_s=patience_s)

    async def test_an_answer_is_secure_when_a_trusted_resolver_says_so(self) -> None:
        """RFC 7672 §2.1.1: the AD bit is the word of a resolver that we chose to believe."""
        self.server.mx("signed.example", (10, "mx.signed.example"))
        self.server.mx("plain.example", (10, "mx.plain.example"))
        self.server.sign("signed.example")
        resolver = self.make(trusted=["127.0.0.1"])
        assert resolver.validates
        signed, plain = await resolver.ask("signed.example", MX), await resolver.ask("plain.example", MX)
        assert isinstance(signed, Found) and signed.secure
        assert isinstance(plain, Found) and not plain.secure
        denied = await resolver.ask("signed.example", TLSA)
        assert isinstance(denied, Missing) and denied.secure

    async def test_the_ad_bit_of_others_is_not_believed(self) -> None:
        """Field-notes 11, spoofed AD: anybody can set a bit."""
        self.server.mx("signed.example", (10, "mx.signed.example"))
        self.server.sign("signed.example")
        for resolver in (self.make(), self.make(trusted=["192.0.2.53"])):
            answer = await resolver.ask("signed.example", MX)
            assert isinstance(answer, Found) and not answer.secure

    async def test_the_name_at_the_end_of_the_cnames(self) -> None:
        self.server.cname("mail.example", "host.example")
        self.server.a("host.example", "192.0.2.1")
        answer = await self.resolver.ask("mail.example", A)
        assert isinstance(answer, Found)
        self.assertEqual(answer.canonical, "host.example")
        direct = await self.resolver.ask("host.example", A)
        assert isinstance(direct, Found)
        self.assertEqual(direct.canonical, "")
        self.assertEqual((await self.resolver.ask("mail.example", CNAME)).values, ("host.example",))

    async def test_texts_and_associations(self) -> None:
        self.server.add("_mta-sts.example.org", "TXT", '"v=STSv1; " "id=1;"')
        self.server.add("_25._tcp.mx.example.org", "TLSA", "3 1 1 " + "ab" * 32, "2 0 2 " + "cd" * 64)
        self.assertEqual((await self.resolver.ask("_mta-sts.example.org", TXT)).values, ("v=STSv1; id=1;",))
        self.assertEqual(
            set((await self.resolver.ask("_25._tcp.mx.example.org", TLSA)).values),
            {Tlsa(3, 1, 1, b"\xab" * 32), Tlsa(2, 0, 2, b"\xcd" * 64)},
        )

    async def test_mail_hosts_are_found_and_remembered(self) -> None:
        self.server.mx("example.org", (20, "B.example."), (10, "a.example"), ttl=120)
        answer = await self.resolver.ask("example.org", MX)
        assert isinstance(answer, Found)
        self.assertEqual(answer.values, (Mx(10, "a.example"), Mx(20, "b.example")))
        assert 115 < answer.expires_at - reactor.seconds() <= 120
        self.assertIs(self.resolver.known("example.org", MX), answer)
        self.assertIs(await self.resolver.ask("example.org", MX), answer)
        self.assertEqual(self.server.count("example.org", "MX"), 1)

    async def test_addresses_and_pointers(self) -> None:
        self.server.a("host.example", "192.0.2.1", "192.0.2.2")
        self.server.aaaa("host.example", "2001:db8::1")
        self.server.ptr("192.0.2.1", "Host.example")
        self.assertEqual(set((await self.resolver.ask("host.example", A)).values), {"192.0.2.1", "192.0.2.2"})
        self.assertEqual((await self.resolver.ask("host.example", AAAA)).values, ("2001:db8::1",))
        self.assertEqual((await self.resolver.ask("1.2.0.192.in-addr.arpa", PTR)).values, ("host.example",))

    async def test_a_null_mx_has_an_empty_host(self) -> None:
        """RFC 7505 §3."""
        self.server.null_mx("nomail.example")
        self.assertEqual((await self.resolver.ask("nomail.example", MX)).values, (Mx(0, ""),))

    async def test_what_does_not_exist_is_remembered_too(self) -> None:
        """RFC 2308: NXDOMAIN and NODATA, by the TTL of the SOA."""
        self.server.a("host.example", "192.0.2.1")
        for name, exists in (("nowhere.example", False), ("host.example", True)):
            answer = await self.resolver.ask(name, MX)
            assert isinstance(answer, Missing)
            self.assertIs(answer.name_exists, exists)
            assert NEGATIVE_TTL_S - 5 < answer.expires_at - reactor.seconds() <= NEGATIVE_TTL_S
            await self.resolver.ask(name, MX)
            self.assertEqual(self.server.count(name, "MX"), 1)

    async def test_an_alias_is_followed(self) -> None:
        """RFC 5321 §5.1: the resulting name is processed as if it were the initial name."""
        self.server.cname("alias.example", "example.org")
        self.server.mx("example.org", (10, "mx.example"))
        self.assertEqual((await self.resolver.ask("alias.example", MX)).values, (Mx(10, "mx.example"),))

    async def test_an_alias_to_nowhere_does_not_exist(self) -> None:
        """RFC 6604 §3: the code is that of the last name."""
        self.server.cname("alias.example", "gone.invalid")
        answer = await self.resolver.ask("alias.example", MX)
        assert isinstance(answer, Missing)
        self.assertIs(answer.name_exists, False)

    async def test_aliases_in_a_circle_are_trouble(self) -> None:
        self.server.cname("a.example", "b.example")
        self.server.cname("b.example", "a.example")
        self.assertIsInstance(await self.soon().ask("a.example", MX), Trouble)

    async def test_servfail_is_trouble_for_a_short_while(self) -> None:
        self.server.servfail("broken.example")
        answer = await self.resolver.ask("broken.example", MX)
        self.assertEqual(answer.why, f"SERVFAIL from 127.0.0.1:{self.server.port}")
        await self.resolver.ask("broken.example", MX)
        self.assertEqual(self.server.count("broken.example", "MX"), 1)
        self.server.remove("broken.example")
        self.server.mx("broken.example", (10, "mx.example"))
        self.reactor.ahead_s = module.TROUBLE_TTL_S + 1
        self.assertIsInstance(await self.resolver.ask("broken.example", MX), Found)

    async def test_refused_is_trouble(self) -> None:
        """Our own name server turning us away says nothing of the recipient's domain."""
        self.server.behave("REFUSED", "x.example")
        self.assertIn("REFUSED", (await self.resolver.ask("x.example", MX)).why)

    async def test_a_server_that_does_not_recurse_is_trouble(self) -> None:
        """An empty referral is no word about the name; mail must not bounce for our wrong ``servers``."""
        self.server.recurses = False
        self.server.a("sub.example.org", "192.0.2.1")
        answer = await self.resolver.ask("example.org", MX)
        self.assertIsInstance(answer, Trouble)

    async def test_silence_is_trouble_within_the_patience(self) -> None:
        self.server.silent("slow.example")
        began = reactor.seconds()
        answer = await self.soon().ask("slow.example", MX)
        assert isinstance(answer, Trouble)
        self.assertIn("time-out", answer.why)
        self.assertLess(reactor.seconds() - began, 2)

    async def test_nobody_listening_is_trouble_at_once(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        began = reactor.seconds()
        answer = await self.make(servers=[("127.0.0.1", port)]).ask("example.org", MX)
        assert isinstance(answer, Trouble)
        self.assertIn("refused", answer.why)
        self.assertLess(reactor.seconds() - began, 1)

    async def test_names_that_are_not_answered_add_up_until_one_is(self) -> None:
        """A name server that is down, and a domain that is: only the first leaves all of them without an answer."""
        for number in range(6):
            self.server.servfail(f"{number}.example")
            await self.resolver.ask(f"{number}.example", MX)
        self.assertEqual(len(self.resolver.silent_for), module.SILENT_FOR_LIMIT)
        self.assertEqual((self.resolver.asked, self.resolver.unanswered), (6, 6))
        await self.resolver.ask("there-is-none.example", MX)
        self.assertEqual(self.resolver.silent_for, set())
        self.assertEqual((self.resolver.asked, self.resolver.unanswered), (7, 6))

    async def test_the_second_server_answers_for_the_first(self) -> None:
        other = DnsServer().start()
        self.addCleanup(other.stop)
        self.server.servfail("example.org")
        other.mx("example.org", (10, "mx.example"))
        resolver = self.make(servers=[self.server.address, other.address])
        self.assertIsInstance(await resolver.ask("example.org", MX), Found)
        self.assertEqual(self.server.asked, [("example.org", "MX", "udp")])

    async def test_the_second_server_answers_when_nobody_listens_at_the_first(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            nobody = taken.getsockname()
        self.server.mx("example.org", (10, "mx.example"))
        resolver = self.make(servers=[nobody, self.server.address])
        began = reactor.seconds()
        self.assertIsInstance(await resolver.ask("example.org", MX), Found)
        self.assertLess(reactor.seconds() - began, 1)

    async def test_a_first_server_that_keeps_silent_is_asked_once_before_the_second(self) -> None:
        other = DnsServer().start()
        self.addCleanup(other.stop)
        self.server.silent("example.org")
        other.mx("example.org", (10, "mx.example"))
        resolver = self.make(servers=[self.server.address, other.address])
        resolver._refreshed_stub().timeout = 0.1
        self.assertIsInstance(await resolver.ask("example.org", MX), Found)
        self.assertEqual(self.server.asked, [("example.org", "MX", "udp")])

    async def test_servers_take_turns_where_resolv_conf_says_so(self) -> None:
        other = DnsServer().start()
        self.addCleanup(other.stop)
        resolver = self.make(servers=[self.server.address, other.address])
        resolver._refreshed_stub().rotate = True
        for number in range(40):
            await resolver.ask(f"{number}.example", MX)
        self.assertEqual(len(self.server.asked) + len(other.asked), 40)
        assert self.server.asked and other.asked

    async def test_a_server_is_asked_over_ipv6(self) -> None:
        try:
            server = DnsServer("::1").start()
        except OSError:
            raise SkipTest("no IPv6 here") from None
        self.addCleanup(server.stop)
        server.mx("example.org", (10, "mx.example"))
        server.truncated("example.org")
        self.assertIsInstance(await self.make(servers=[server.address]).ask("example.org", MX), Found)
        self.assertEqual([over for _, _, over in server.asked], ["udp", "tcp"])

    async def test_a_truncated_answer_is_fetched_by_tcp(self) -> None:
        """RFC 7766 §5."""
        self.server.mx("big.example", *((n, f"mail-host-number-{n:04}.big.example") for n in range(300)))
        self.server.truncated("big.example")
        answer = await self.resolver.ask("big.example", MX)
        self.assertEqual(len(answer.values), RECORDS_LIMIT)
        self.assertEqual(answer.values[1], Mx(1, "mail-host-number-0001.big.example"))
        self.assertEqual([over for name, _, over in self.server.asked if name == "big.example"], ["udp", "tcp"])

    async def test_silence_over_tcp_is_trouble_within_the_patience(self) -> None:
        self.server.mute("big.example")
        self.assertIsInstance(await self.soon().ask("big.example", MX), Trouble)
        self.assertEqual(self.server.asked[-1][2], "tcp")

    async def test_noise_and_answers_with_a_wrong_id_are_passed_over(self) -> None:
        self.server.mx("example.org", (10, "mx.example"))
        self.server.garbled("example.org")
        self.assertIsInstance(await self.resolver.ask("example.org", MX), Found)

    async def test_a_strangers_answer_does_not_get_in(self) -> None:
        """A forged NXDOMAIN would bounce mail: the socket is connected, so only the server asked is heard."""
        self.server.mx("example.org", (10, "mx.example"))
        self.server.forged("example.org")
        self.assertIsInstance(await self.resolver.ask("example.org", MX), Found)

    async def test_equal_questions_under_way_are_asked_once(self) -> None:
        self.server.mx("example.org", (10, "mx.example"))
        answers = await defer.gatherResults([self.resolver.ask("example.org", MX) for _ in range(50)])
        self.assertEqual(self.server.count("example.org", "MX"), 1)
        self.assertEqual(len({id(answer) for answer in answers}), 1)

    async def test_who_gives_up_waiting_does_not_stop_the_others(self) -> None:
        self.server.mx("example.org", (10, "mx.example"))
        first, second = self.resolver.ask("example.org", MX), self.resolver.ask("example.org", MX)
        first.addErrback(lambda _: None)
        first.cancel()
        self.assertIsInstance(await second, Found)

    async def test_the_questions_under_way_are_bounded(self) -> None:
        """Each has a file descriptor, and thousands of slow domains must not take them all."""
        resolver = self.make(patience_s=0.2, at_once=5)
        await resolver.ask("example.org", MX)  # what is opened once is open now
        before = open_files()
        for number in range(20):
            self.server.silent(f"slow{number}.example")
        asked = [resolver.ask(f"slow{number}.example", MX) for number in range(20)]
        self.assertLessEqual(open_files() - before, 5)
        answers = await defer.gatherResults(asked)
        self.assertEqual({type(answer) for answer in answers}, {Trouble})
        self.assertEqual(open_files(), before)

    async def test_a_ttl_of_zero_does_not_mean_a_question_for_each_message(self) -> None:
        self.server.mx("example.org", (10, "mx.example"), ttl=0)
        await self.resolver.ask("example.org", MX)
        await self.resolver.ask("example.org", MX)
        self.assertEqual(self.server.count("example.org", "MX"), 1)

    async def test_an_answer_is_asked_for_again_when_its_ttl_is_over(self) -> None:
        self.server.mx("example.org", (10, "old.example"), ttl=30)
        await self.resolver.ask("example.org", MX)
        self.server.mx("example.org", (10, "new.example"), ttl=30)
        self.reactor.ahead_s = 29
        self.assertEqual((await self.resolver.ask("example.org", MX)).values, (Mx(10, "old.example"),))
        self.reactor.ahead_s = 31
        self.assertEqual((await self.resolver.ask("example.org", MX)).values, (Mx(10, "new.example"),))

    async def test_what_was_answered_can_be_forgotten(self) -> None:
        self.server.mx("example.org", (10, "mx.example"))
        await self.resolver.ask("example.org", MX)
        self.resolver.forget()
        await self.resolver.ask("example.org", MX)
        self.assertEqual(self.server.count("example.org", "MX"), 2)

    async def test_what_is_remembered_is_bounded(self) -> None:
        resolver = self.make(cache_limit=3)
        for number in range(6):
            await resolver.ask(f"d{number}.example", MX)
        self.assertIsNone(resolver.known("d0.example", MX))
        self.assertIsNotNone(resolver.known("d5.example", MX))

    async def test_a_name_that_no_dns_can_hold_does_not_exist(self) -> None:
        """RFC 1035 §2.3.4; and dnspython would turn other scripts into another domain by IDNA 2003."""
        for name in ("", "straße.example", "a..b", "x" * 64 + ".example", ".".join(["label"] * 60)):
            answer = await self.resolver.ask(name, MX)
            assert isinstance(answer, Missing)
            self.assertIs(answer.name_exists, False)
        self.assertEqual(self.server.asked, [])

    async def test_a_defect_is_trouble_and_logged_whole(self) -> None:
        answer = await self.resolver.ask("example.org", Kind("NOSUCHTYPE"))
        self.assertIsInstance(answer, Trouble)
        self.flushLoggedErrors()

    async def test_a_defect_in_reading_an_answer_is_trouble_and_leaves_nobody_waiting(self) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("a defect")

        self.server.mx("example.org", (10, "mx.example"))
        resolver = self.make(at_once=1)
        with mock.patch.object(plain, "read", broken):
            self.assertIsInstance(await resolver.ask("example.org", MX), Trouble)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIsInstance(await resolver.ask("example.org", A), Missing)

    def no_more_files(self) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(socket, "socket", full)

    async def test_no_file_descriptor_left_is_trouble(self) -> None:
        self.no_more_files()
        answer = await self.resolver.ask("example.org", MX)
        assert isinstance(answer, Trouble)
        self.assertIn("too many open files", answer.why)

    async def test_thousands_that_wait_their_turn_are_answered_at_once_when_nobody_can_be_asked(self) -> None:
        """One after the other, and not one within the other."""
        self.server.silent("slow.example")
        resolver = self.make(patience_s=0.2, at_once=1)
        asked = [resolver.ask("slow.example", MX)]
        asked += [resolver.ask(f"{number}.example", MX) for number in range(3000)]
        self.no_more_files()
        answers = await defer.gatherResults(asked)
        self.assertEqual({type(answer) for answer in answers}, {Trouble})
        self.assertEqual(self.flushLoggedErrors(), [])


class SystemTests(TestCase):
    def setUp(self) -> None:
        self.server = DnsServer().start()
        self.addCleanup(self.server.stop)
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "resolv.conf")

        def at_our_port(nameserver: Any, address: str, port: int = 53) -> None:
            nameserver.address, nameserver.port = address, self.server.port

        self.patch(module.dns.nameserver.Do53Nameserver, "__init__", at_our_port)
        self.reactor = LateReactor()
        self.resolver = Resolver(self.reactor, resolv_conf=self.file)

    async def test_the_servers_and_the_search_list_of_resolv_conf(self) -> None:
        """The search list is for hosts that our configuration names; RFC 5321 §5.1 forbids it for recipients."""
        self.file.write_text("nameserver 127.0.0.1\nsearch lan.example\n")
        self.server.a("smart.lan.example", "192.0.2.1")
        self.assertIsInstance(await self.resolver.ask("smart", A), Missing)
        self.assertIsInstance(await self.resolver.ask("smart", A, search=True), Found)
        self.assertIsInstance(await self.resolver.ask("smart.lan.example", A, search=True), Found)

    async def test_a_changed_resolv_conf_is_followed(self) -> None:
        """A relay that starts before the network is up, or moves with a laptop."""
        self.server.a("host.example", "192.0.2.1")
        self.file.write_text("nameserver 127.0.0.2\n")  # our server does not listen there
        self.assertIsInstance(await self.resolver.ask("host.example", A), Trouble)
        self.file.write_text("nameserver 127.0.0.1\n# repaired\n")
        self.reactor.ahead_s = max(LOOK_AGAIN_S, module.TROUBLE_TTL_S) + 1
        self.assertIsInstance(await self.resolver.ask("host.example", A), Found)

    async def test_without_resolv_conf_this_machine_is_asked(self) -> None:
        self.server.a("host.example", "192.0.2.1")
        self.assertIsInstance(await self.resolver.ask("host.example", A), Found)


def test_the_patience_is_measured_by_the_reactors_clock() -> None:
    """With a clock of its own a test, and the simulation, must come to the end of a question too."""

    class FakeNetwork(Clock):
        def addReader(self, reader: Any) -> None: ...
        def removeReader(self, reader: Any) -> None: ...

    clock = FakeNetwork()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        asked = Resolver(clock, servers=[nobody.getsockname()], patience_s=7.0).ask("example.org", MX)
        answers: list[object] = []
        asked.addCallback(answers.append)
        clock.pump([0.1] * 69)
        assert not answers
        clock.pump([0.1] * 5)
    assert isinstance(answers[0], Trouble)
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("[2001:DB8::53]", ("2001:db8::53", 53)),
        ("[::1]:5353", ("::1", 5353)),
    ],
)
def test_a_name_server_is_an_address_with_or_without_a_port(text: str, server: tuple[str, int]) -> None:
    assert parse_server(text) == server


@pytest.mark.parametrize(
    "text", ["", "dns.example", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:x", "[::1]:99999", "1.2.3"]
)
def test_a_slip_in_a_name_server_is_answered_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:53|1 to 65535"):
        parse_server(text)


def test_a_url_in_resolv_conf_is_no_server(tmp_path: Path) -> None:
    """dnspython takes one for a server by HTTPS; who asks it by a datagram would ask nobody, and end twice."""
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver https://127.0.0.1/dns-query\nnameserver 127.0.0.2\n")
    assert [server.address for server in system_stub(file).nameservers] == ["127.0.0.2"]  # type: ignore[union-attr]
    file.write_text("nameserver https://127.0.0.1/dns-query\n")
    assert [server.address for server in system_stub(file).nameservers] == ["127.0.0.1"]  # type: ignore[union-attr]
