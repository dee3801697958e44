"""The MTA-STS policies of others: fetched, kept as long as they last, and kept over a restart (RFC 8461 §3.3, §5.1).

A policy that is held stays in force until it expires or a newer one was fetched; a missing record, a DNS that gives no
answer and a web server that fails do not end it.

The rule that must not be broken: whoever can take away the record or the web server gains nothing while the policy
lasts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.message.step import Tell, tell_nobody
from relay.route.cache import Cache
from relay.route.https import Fetched, HttpsFault
from relay.route.names import TXT, Found, Names
from relay.route.sts import POLICY_LIMIT_OCTETS, Mode, Policy, PolicyFault, parse_policy, policy_id

HELD_LIMIT = 10_000
RETRY_S = 300.0
"""After a failed fetch, the same policy is not asked for again for so long (RFC 8461 §3.3)."""
REFRESH_S = 86_400.0
"""A held policy is fetched again once a day, so that it is there when the old one would expire (RFC 8461 §10.2)."""
FETCH_TIMEOUT_S = 30.0
SAVE_AFTER_S = 5.0
_AT_ONCE = 10


class Fetch(Protocol):
    """Gets a policy's text; see relay.route.https.Https.request."""

    def __call__(self, method: str, url: str, *, limit_octets: int, timeout_s: float) -> defer.Deferred[Fetched]: ...


class Shelf(Protocol):
    """Where a text is kept over a restart."""

    def load(self) -> str | None:
        """What was saved last, or None."""

    def save(self, text: str) -> None:
        """Keeps this in place of what was there; what goes wrong is told elsewhere."""


@dataclass(frozen=True, slots=True)
class Held:
    """A policy as we hold it.

    id          that of the record that led to it
    fetched_at  seconds since the epoch
    """

    policy: Policy
    id: str
    fetched_at: float

    @property
    def expires_at(self) -> float:
        return self.fetched_at + self.policy.max_age_s


class Policies:
    """See the module."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, names: Names, fetch: Fetch, shelf: Shelf, tell: Tell = tell_nobody) -> None:
        self._clock = clock
        self._names = names
        self._fetch = fetch
        self._shelf = shelf
        self._tell = tell
        self._held: dict[str, Held] = {}
        self._failed: Cache[tuple[str, str], bool] = Cache(HELD_LIMIT)
        self._fetching: dict[str, list[defer.Deferred[None]]] = {}
        self._turns = defer.DeferredSemaphore(_AT_ONCE)
        self._saving: IDelayedCall | None = None
        self._refreshing: IDelayedCall | None = None

    def start(self) -> None:
        """Takes up what was held before, and keeps it fresh."""
        self._held = _read(self._shelf.load())
        self._refreshing = self._clock.callLater(REFRESH_S / 24, self._refresh)

    def stop(self) -> None:
        for call in (self._saving, self._refreshing):
            if call is not None and call.active():
                call.cancel()
        if self._saving is not None:
            self._save()

    def apart(self, names: Names) -> Policies:
        """Others that hold the same as these now, and ask these names; what they learn is told nobody and not kept."""
        others = Policies(self._clock, names, self._fetch, _NoShelf())
        others._held = self._held.copy()
        return others

    async def policy(self, domain: str) -> tuple[Held | None, float]:
        """The policy in force for a domain, or None; and until when nobody need ask again.  Never fails.

        domain  in lower case and A-labels
        """
        answer = await self._names.ask(f"_mta-sts.{domain}", TXT)
        found = policy_id(answer.values) if isinstance(answer, Found) else None
        held = self._in_force(domain)
        if found is not None and (held is None or held.id != found):
            await self._fetch_once(domain, found)
        held = self._in_force(domain)
        until = answer.expires_at
        if found is not None and (held is None or held.id != found):
            until = min(until, self._clock.seconds() + RETRY_S)
        if held is None or held.policy.mode is Mode.NONE:
            return None, until
        return held, min(until, held.expires_at)

    def _in_force(self, domain: str) -> Held | None:
        held = self._held.get(domain)
        return held if held is not None and held.expires_at > self._clock.seconds() else None

    # -- fetching ----------------------------------------------------------------------------

    async def _fetch_once(self, domain: str, found: str) -> None:
        """Fetches, unless that has just failed or is under way."""
        now = self._clock.seconds()
        if self._failed.get((domain, found), now):
            return
        if domain in self._fetching:
            waiting: defer.Deferred[None] = defer.Deferred()
            self._fetching[domain].append(waiting)
            await waiting
            return
        self._fetching[domain] = []
        try:
            await self._fetch_now(domain, found)
        finally:
            for each in self._fetching.pop(domain):
                each.callback(None)

    async def _fetch_now(self, domain: str, found: str) -> None:
        await self._turns.acquire()
        try:
            text = await self._text(domain)
            self._hold(domain, Held(parse_policy(text), found, self._clock.seconds()))
        except (HttpsFault, PolicyFault) as fault:
            self._failed.put((domain, found), True, self._clock.seconds() + RETRY_S)
            self._tell("unpoliced", destination=domain, error=f"the MTA-STS policy cannot be had: {fault}")
        except Exception:
            self._log.failure("a defect in fetching the policy of {domain}", domain=domain)
        finally:
            self._turns.release()

    async def _text(self, domain: str) -> bytes:
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        fetched = await self._fetch("GET", url, limit_octets=POLICY_LIMIT_OCTETS, timeout_s=FETCH_TIMEOUT_S)
        if fetched.status != 200:  # RFC 8461 §3.3: redirects are not followed either
            raise HttpsFault("status", f"the web server answers {fetched.status}")
        if fetched.kind != "text/plain":
            raise HttpsFault("status", f"the web server sends {fetched.kind or 'an unnamed type'}, not text/plain")
        return fetched.body

    def _hold(self, domain: str, held: Held) -> None:
        self._held.pop(domain, None)
        if len(self._held) >= HELD_LIMIT:
            del self._held[min(self._held, key=lambda one: self._held[one].expires_at)]
        self._held[domain] = held
        if self._saving is None:
            self._saving = self._clock.callLater(SAVE_AFTER_S, self._save)

    # -- over time ---------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._refreshing = self._clock.callLater(REFRESH_S / 24, self._refresh)
        now = self._clock.seconds()
        self._held = {domain: held for domain, held in self._held.items() if held.expires_at > now}
        for domain, held in list(self._held.items()):
            if now - held.fetched_at >= REFRESH_S and domain not in self._fetching:
                defer.Deferred.fromCoroutine(self._fetch_once(domain, held.id))

    def _save(self) -> None:
        self._saving = None
        kept = {
            domain: [held.id, held.fetched_at, held.policy.mode.value, held.policy.max_age_s, held.policy.mx]
            for domain, held in self._held.items()
        }
        self._shelf.save(json.dumps(kept, separators=(",", ":")))


class _NoShelf:
    """Keeps nothing."""

    def load(self) -> str | None:
        return None

    def save(self, text: str) -> None:
        """It is forgotten."""


def _read(text: str | None) -> dict[str, Held]:
    """What was saved; what is broken is nothing."""
    try:
        saved = json.loads(text or "{}")
        return {
            str(domain): Held(Policy(Mode(mode), tuple(map(str, mx)), int(max_age_s)), str(found), float(fetched_at))
            for domain, (found, fetched_at, mode, max_age_s, mx) in saved.items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}
