"""HTTPS to strangers and to providers, against a real web server with certificates made here."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from relay.route.hosts import HostsFile
from relay.route.https import Fetched, Https, HttpsFault
from relay.route.names import TXT
from relay.route.policies import Policies
from tests.fakes.authority import Issued, authority_file, issue
from tests.fakes.names import FakeNames
from tests.fakes.web import Asked, Web
from tests.route.test_policies import Shelf, text

HOST = "mta-sts.example.org"
URL = f"https://{HOST}/.well-known/mta-sts.txt"


class OverTls(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.names = FakeNames(reactor)
        self.names.a(HOST, "127.0.0.1")

    def web(self, answer: object, certificate: Issued | None = None) -> Web:
        made = Web(answer if callable(answer) else lambda asked: answer)  # type: ignore[arg-type,return-value]
        port = made.listen(certificate or issue(HOST))
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        return made

    def https(self, *, guarded: bool = False) -> Https:
        hosts = HostsFile(reactor, self.folder / "hosts")
        authorities = str(authority_file(self.folder))
        more = {} if guarded else {"unreachable": ()}
        return Https(reactor, self.names, hosts, authorities=authorities, port=self.port, **more)

    async def get(self, *, limit: int = 1000, timeout_s: float = 5.0, guarded: bool = False, url: str = URL) -> Fetched:
        return await self.https(guarded=guarded).request("GET", url, limit_octets=limit, timeout_s=timeout_s)

    async def fault(self, **more: object) -> str:
        try:
            await self.get(**more)  # type: ignore[arg-type]
        except HttpsFault as fault:
            await deferLater(reactor, 0.05)  # for the sockets to close
            return fault.kind
        raise AssertionError("it was answered")

    async def test_a_page(self) -> None:
        web = self.web((200, "Text/Plain; charset=utf-8", b"hello"))
        assert await self.get() == Fetched(200, "text/plain", b"hello")
        assert (web.asked[0].method, web.asked[0].host) == ("GET", HOST)
        assert web.asked[0].path == "/.well-known/mta-sts.txt"

    async def test_twisteds_log_does_not_tell_of_each_connection(self) -> None:
        """Two lines for each event of a webhook, with the addresses of objects, at the level info."""
        told: list[str] = []

        def hear(event: LogEvent) -> None:
            told.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        self.web((200, "text/plain", b"hello"))
        await self.get()
        await deferLater(reactor, 0.05)
        assert not [line for line in told if "HTTP11Client" in line]

    async def test_a_form(self) -> None:
        web = self.web((200, "application/json", b"{}"))
        body = b"grant_type=refresh_token&refresh_token=a%2Bb"
        kind = "application/x-www-form-urlencoded"
        await self.https().request("POST", URL, limit_octets=10, timeout_s=5, body=body, kind=kind, ours=True)
        assert web.asked[0].form == {"grant_type": "refresh_token", "refresh_token": "a+b"}

    async def test_the_certificate_is_verified(self) -> None:
        """RFC 8461 §3.3: known authority, the policy host's name, the date."""
        for certificate in (issue(HOST, by="Unknown"), issue("example.org"), issue(HOST, expired=True)):
            web = self.web((200, "text/plain", b"hello"), certificate)
            assert await self.fault() == "certificate"
            assert not web.asked

    async def test_more_fields_may_be_given(self) -> None:
        seen: list[str] = []

        def answer(asked: Asked) -> tuple[int, str, bytes]:
            seen.append(asked.fields["webhook-id"])
            return 204, "", b""

        self.web(answer)
        await self.https().request(
            "POST", URL, limit_octets=10, timeout_s=5, body=b"{}", ours=True, fields={"webhook-id": "7"}
        )
        assert seen == ["7"]

    async def test_without_tls_only_this_machine_is_asked_and_only_where_that_is_ours(self) -> None:
        web = Web(lambda asked: (200, "text/plain", b"hello"))
        port = web.listen_in_the_clear()
        self.addCleanup(port.stopListening)
        self.names.a("elsewhere.example", "192.0.2.1")
        number = port.getHost().port
        asked = Https(reactor, self.names, HostsFile(reactor, self.folder / "hosts"))
        found = await asked.request("GET", f"http://127.0.0.1:{number}/", limit_octets=10, timeout_s=5, ours=True)
        assert found.body == b"hello"
        for url, ours in ((f"http://elsewhere.example:{number}/", True), (f"http://127.0.0.1:{number}/", False)):
            with self.assertRaises(HttpsFault) as raised:
                await asked.request("GET", url, limit_octets=10, timeout_s=5, ours=ours)
            assert raised.exception.kind == "connection"
        assert len(web.asked) == 1

    async def test_an_answer_without_a_length_is_whole_only_from_who_is_ours(self) -> None:
        """HTTP/1.0 ends an answer by ending the connection: so might anybody on the way."""

        class Old(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")  # type: ignore[union-attr]
                self.transport.loseConnection()  # type: ignore[union-attr]

        port = reactor.listenSSL(0, Factory.forProtocol(Old), issue(HOST), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        found = await self.https().request("GET", URL, limit_octets=100, timeout_s=5, ours=True)
        assert found == Fetched(200, "text/plain", b"hello")
        assert await self.fault() == "connection"

    async def test_no_redirect_is_followed(self) -> None:
        """RFC 8461 §3.3: who may redirect one page of the web server must not decide about mail."""
        web = self.web((301, "text/plain", b"gone"))
        web.headers["Location"] = URL + "?again"
        assert (await self.get()).status == 301
        assert len(web.asked) == 1

    async def test_an_answer_without_end_is_cut(self) -> None:
        self.web((200, "text/plain", b"x" * 1_000_000))
        assert await self.fault() == "size"

    async def test_a_server_that_keeps_silent_is_left(self) -> None:
        self.web(None)
        assert await self.fault(timeout_s=0.3) == "time"

    async def test_nobody_there(self) -> None:
        self.web((200, "text/plain", b""))
        self.port = 1
        assert await self.fault() == "connection"
        self.names.remove(HOST)
        assert await self.fault() == "dns"

    async def test_a_strangers_name_does_not_lead_to_our_own_services(self) -> None:
        web = self.web((200, "text/plain", b"secret"))
        assert await self.fault(guarded=True) == "dns"
        assert not web.asked

    async def test_only_https(self) -> None:
        self.web((200, "text/plain", b""))
        assert await self.fault(url=URL.replace("https", "http")) == "connection"

    async def test_a_policy_is_fetched(self) -> None:
        """From the record to the policy, as a delivery does it."""
        self.web((200, "text/plain", text()))
        self.names.add("_mta-sts.example.org", TXT, "v=STSv1; id=1;")
        policies = Policies(reactor, self.names, self.https().request, Shelf())
        held, _ = await policies.policy("example.org")
        policies.stop()
        assert held is not None and held.policy.allows("mx.example.org")
