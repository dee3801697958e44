"""Sends the TLS reports: once a day, for each domain that asks for them, by mail or by HTTPS (RFC 8460).

What was counted outlives a restart.  Of several workers each keeps what it has counted where the first can read it,
and the first reports for all: a domain gets one report a day.  A report that cannot be sent by HTTPS is told and not
tried again; one by mail is in the queue like any other message.

The rules that must not be broken: no day is reported twice; reports are a courtesy, and no trouble with them keeps mail
waiting.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.deliver.dkim import Signer
from relay.deliver.oauth import Request
from relay.deliver.tlsrpt import DAY_S, Report, Tally, destinations, mail, mailbox_of, report
from relay.message.address import Address
from relay.message.envelope import Composed, Envelope, Notify, Recipient
from relay.message.step import Tell
from relay.route.https import HttpsFault
from relay.route.names import TXT, Found, Names
from relay.route.policies import Shelf
from relay.route.tls import Policed

SPREAD_S = 4 * 3600.0
"""Reports go out within so long after midnight (UTC), so that not all the world's arrive at once (RFC 8460 §4.1)."""
SAVE_S = 60.0
"""What was counted is kept within this time; so a day can be reported twice as long after its end."""
KEPT_DAYS = 7
"""Of days that nobody has reported, so many are kept."""
TIMEOUT_S = 60.0
ANSWER_LIMIT_OCTETS = 64 * 1024
MEDIA_TYPE = "application/tlsrpt+gzip"

Enqueue = Callable[[Composed], Awaitable[None]]
Others = Callable[[], Sequence[Shelf]]
"""Where the other workers keep what they have counted."""

_log = Logger()


class TlsReports:
    """See the module.

    sender    from whom reports come
    request   HTTPS; None: only mail
    enqueue   puts a message of ours in the queue
    signer    signs what goes by mail, if it is to be signed
    others    of several workers the first has this; None: another reports what this one counts
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        chance: random.Random,
        names: Names,
        request: Request | None,
        enqueue: Enqueue,
        shelf: Shelf,
        tell: Tell,
        hostname: str,
        sender: Address,
        organization: str,
        signer: Signer | None = None,
        others: Others | None = lambda: (),
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._names = names
        self._request = request
        self._enqueue = enqueue
        self._shelf = shelf
        self._tell = tell
        self._hostname = hostname
        self._sender = sender
        self._organization = organization
        self._signer = signer
        self._others = others
        self._tally = Tally()
        self._calls: dict[str, IDelayedCall] = {}

    def start(self) -> None:
        self._tally.load(self._shelf.load())
        if self._others is not None:
            self._plan()

    def stop(self) -> None:
        if "save" in self._calls:
            self._save()
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._calls.clear()

    def witness(self, policed: Policed, label: str, failure: str, why: str, own_ip: str = "", /) -> None:
        """See relay.route.tls.Witness."""
        self._tally.count(self._clock.seconds(), policed, label, failure, why, own_ip)
        if "save" not in self._calls:
            self._calls["save"] = self._clock.callLater(SAVE_S, self._save)

    def _save(self) -> None:
        call = self._calls.pop("save", None)
        if call is not None and call.active():
            call.cancel()
        self._tally.forget(self._today() - KEPT_DAYS)
        self._shelf.save(self._tally.dump())

    def _today(self) -> int:
        return int(self._clock.seconds() // DAY_S)

    def _plan(self) -> None:
        left_s = 0.0 if self._due().days else DAY_S - self._clock.seconds() % DAY_S
        self._calls["send"] = self._clock.callLater(left_s + self._chance.uniform(2 * SAVE_S, SPREAD_S), self._send)

    def _due(self) -> Tally:
        """The days that are over and not yet reported, as all workers have seen them."""
        due = Tally()
        due.add(self._tally)
        for shelf in self._others() if self._others is not None else ():
            other = Tally()
            other.load(shelf.load())
            due.add(other)
        today = self._today()
        due.forget(max(self._tally.told, today - KEPT_DAYS))
        due.days.pop(today, None)
        return due

    def _send(self) -> None:
        due, today = self._due(), self._today()
        self._tally.told = today
        self._tally.forget(today)
        self._save()  # first: better no report after a crash than two
        self._plan()
        made = [
            report(domain, day, policies, self._hostname, self._organization, self._sender)
            for day, domain, policies in due.by_domain(today)
        ]
        Deferred.fromCoroutine(self._send_all(made)).addErrback(lambda failure: _log.failure("TLS reports", failure))

    async def _send_all(self, made: Sequence[Report]) -> None:
        for each in made:
            answer = await self._names.ask(f"_smtp._tls.{each.domain}", TXT)
            for uri in destinations(answer.values) if isinstance(answer, Found) else ():
                await self._send_one(each, uri)

    async def _send_one(self, made: Report, uri: str) -> None:
        try:
            if uri.startswith("mailto:"):
                await self._mail(made, uri)
            elif self._request is not None:
                await self._post(self._request, made, uri)
        except Exception as error:  # whatever it is, the other domains get theirs
            self._tell("trouble", destination=made.domain, error=f"no TLS report to {uri}: {error}")
        else:
            self._tell("reported", destination=made.domain, place=uri)

    async def _post(self, request: Request, made: Report, uri: str) -> None:
        answer = await request(
            "POST", uri, limit_octets=ANSWER_LIMIT_OCTETS, timeout_s=TIMEOUT_S, body=made.json, kind=MEDIA_TYPE
        )
        if not 200 <= answer.status < 300:
            raise HttpsFault("status", f"the web server answers {answer.status}")

    async def _mail(self, made: Report, uri: str) -> None:
        to = mailbox_of(uri)
        if to is None:
            raise ValueError("that is no address")
        content = mail(made, to, self._sender, self._hostname, self._clock.seconds())
        if self._signer is not None:
            content = self._signer.signed(content)
        await self._enqueue(Composed(Envelope(self._sender), (Recipient(to, Notify.NEVER),), content))
