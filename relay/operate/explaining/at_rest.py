"""The parts of a relay that is not at work, put together from its configuration only to be asked.

The rule that must not be broken: nothing is bound, nothing is opened to be written, and no mail is looked at.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore

from relay.deliver.deliverer import Deliverer
from relay.message.envelope import Composed
from relay.message.step import tell_nobody
from relay.operate import rules
from relay.operate.admission import KEY_OCTETS, sources_of
from relay.operate.config import Config
from relay.operate.disk import Disk
from relay.operate.explaining.explanation import explain
from relay.operate.explaining.finding import Finding, Question
from relay.operate.explaining.premises import Premises
from relay.operate.explaining.rehearsal import NOWHERE, enqueue_nothing, flush_nothing
from relay.operate.outward import Outward, router_of
from relay.operate.settings.receiving import Listen
from relay.operate.surroundings import Surroundings, real_surroundings
from relay.policy.policy import Policy
from relay.policy.recipients import RecipientList, parse_recipients
from relay.queue.store import Content, Counts
from relay.receive.attendance import Attendance
from relay.receive.factory import SmtpServerFactory
from relay.receive.logins import Logins
from relay.receive.tls import Certificates, ServerTls


def explain_at_rest(reactor: Any, config: Config, question: Question, found: Callable[[Finding], object]) -> None:
    """Runs the reactor until all is found out.  Raises ValueError when there is no such listener.

    found  is given each finding as it comes
    """
    failures: list[BaseException] = []

    async def work() -> None:
        at_rest = AtRest(config, real_surroundings(reactor, config))
        try:
            async for finding in explain(at_rest.premises(), question):
                found(finding)
        except BaseException as error:
            failures.append(error)
        finally:
            at_rest.stop()

    core: IReactorCore = reactor
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(work()).addBoth(lambda _: core.stop()))
    core.run()
    for failure in failures:
        raise failure


class AtRest:
    """See the module."""

    def __init__(self, config: Config, around: Surroundings) -> None:
        self._config = config
        self._around = around
        self._policy = Policy(rules.policy_settings(config), _recipients(config))
        self._disk = Disk(config.spool, around.reactor, around.free)
        self._sources = sources_of(config, around, tell_nobody, lambda _: secrets.token_bytes(KEY_OCTETS))
        for source in self._sources:
            source.start()
        outward = Outward(config, around, tell_nobody, _post_nothing)
        if outward.securing.policies is not None:
            outward.securing.policies.start()  # takes up what the relay holds
            outward.securing.policies.stop()
        self._router = router_of(config, around, outward.securing)
        self._deliverer = Deliverer(
            clock=around.reactor,
            dial=around.dial,
            router=self._router,
            open_content=_no_content,
            hostname=config.hostname,
            settings=rules.delivery_settings(config),
            keyring=outward.keyring,
        )

    def stop(self) -> None:
        """Watches no files any more."""
        for source in self._sources:
            source.stop()

    def premises(self) -> Premises:
        config, clock, attendance = self._config, self._around.reactor, Attendance()
        limits, allowed = rules.attempt_limits(config), config.accept.mechanisms
        logins = Logins(self._sources, clock, tell_nobody, str, limits, allowed) if self._sources else None
        return Premises(
            config=config,
            is_running=False,
            loaded_at=clock.seconds(),
            listeners=[(self._factory(listen, attendance, logins), listen) for listen in config.listen],
            attendance=attendance,
            router=self._router,
            deliverer=self._deliverer,
            destinations=_at_rest,
        )

    def _factory(self, listen: Listen, attendance: Attendance, logins: Logins | None) -> SmtpServerFactory:
        # Nobody begins TLS here in truth, and the key may be for others to read.
        tls = ServerTls(Certificates(())) if self._config.tls else None
        return SmtpServerFactory(
            clock=self._around.reactor,
            settings=rules.receive_settings(self._config),
            policy=self._policy,
            store=NOWHERE,
            enqueue=enqueue_nothing,
            flush=flush_nothing,
            service=rules.service(listen),
            counts=lambda: Counts(0, 0, {}),
            has_room=self._disk.has_room,
            attendance=attendance,
            entrance=rules.entrance(listen),
            tls=tls,
            logins=logins,
        )


def _recipients(config: Config) -> RecipientList | None:
    """The list as it is now; None when it cannot be read, as the relay has it then."""
    path = config.accept.recipients
    try:
        return parse_recipients(path.read_text(encoding="utf-8-sig"), str(path)) if path is not None else None
    except (OSError, ValueError):
        return None


async def _at_rest(lanes: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    return {}


async def _post_nothing(composed: Composed) -> None:
    """There is no queue."""


def _no_content(message_id: str) -> Content:
    raise LookupError("there is no queue")
