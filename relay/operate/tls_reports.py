"""Sends the TLS reports: once a day, for each domain that asks for them, by mail or by HTTPS (RFC 8460).

What was counted outlives a restart.  A report that cannot be sent by HTTPS is told and not tried again; one by mail is
in the queue like any other message.  The rule that must not be broken: reports are a courtesy; no trouble with them
keeps mail waiting.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.deliver.oauth import Request
from relay.deliver.tlsrpt import DAY_S, Report, Tally, destinations, mail, mailbox_of, report
from relay.message.address import Address
from relay.message.envelope import Composed, Envelope, Notify, Recipient
from relay.message.step import Tell
from relay.route.https import HttpsFault
from relay.route.names import TXT, Found, Names
from relay.route.policies import Shelf
from relay.route.via import Hop

SPREAD_S = 4 * 3600.0
"""Reports go out within so long after midnight (UTC), so that not all the world's arrive at once (RFC 8460 §4.1)."""
SAVE_S = 60.0
TIMEOUT_S = 60.0
ANSWER_LIMIT_OCTETS = 64 * 1024
MEDIA_TYPE = "application/tlsrpt+gzip"

Enqueue = Callable[[Composed], Awaitable[None]]

_log = Logger()


class TlsReports:
    """See the module.

    sender    from whom reports come
    request   HTTPS; None: only mail
    enqueue   puts a message of ours in the queue
    part      the number of this process, when several work together; each reports what it has seen
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
        part: int = 0,
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
        self._part = part
        self._tally = Tally()
        self._calls: dict[str, IDelayedCall] = {}

    def start(self) -> None:
        self._tally.load(self._shelf.load())
        self._plan()

    def stop(self) -> None:
        if "save" in self._calls:
            self._save()
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._calls.clear()

    def witness(self, hop: Hop, label: str, failure: str, why: str) -> None:
        """See guard.Witness."""
        self._tally.count(self._clock.seconds(), hop, label, failure, why)
        if "save" not in self._calls:
            self._calls["save"] = self._clock.callLater(SAVE_S, self._save)

    def _save(self) -> None:
        call = self._calls.pop("save", None)
        if call is not None and call.active():
            call.cancel()
        self._shelf.save(self._tally.dump())

    def _plan(self) -> None:
        now = self._clock.seconds()
        left_s = DAY_S - now % DAY_S if not self._has_old(now) else 0.0
        self._calls["send"] = self._clock.callLater(left_s + self._chance.uniform(60.0, SPREAD_S), self._send)

    def _has_old(self, now: float) -> bool:
        return any(day < int(now // DAY_S) for day in self._tally.days)

    def _send(self) -> None:
        due = list(self._tally.take(self._clock.seconds()))
        self._save()
        self._plan()
        made = [
            report(domain, day, policies, self._hostname, self._organization, self._sender, self._part)
            for day, domain, policies in due
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
        await self._enqueue(Composed(Envelope(self._sender), (Recipient(to, Notify.NEVER),), content))
