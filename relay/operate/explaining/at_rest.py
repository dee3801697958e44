"""The parts of a relay that is not at work, put together from its configuration only to be asked.

The rule that must not be broken: nothing is bound, nothing is opened to be written, and no mail is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore

from relay.deliver.deliverer import Deliverer
from relay.message.envelope import Composed
from relay.message.step import tell_nobody
from relay.operate import rules
from relay.operate.config import Config
from relay.operate.disk import Disk
from relay.operate.explaining.explanation import explain
from relay.operate.explaining.finding import Finding, Question
from relay.operate.explaining.listeners import Listeners
from relay.operate.explaining.premises import Premises
from relay.operate.outward import Outward, router_of
from relay.operate.surroundings import Surroundings, real_surroundings
from relay.queue.store import Content


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
        self._clock = around.reactor
        self._listeners = Listeners(config, around, Disk(config.spool, around.reactor, around.free).has_room)
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
        self._listeners.stop()

    def premises(self) -> Premises:
        return Premises(
            config=self._config,
            is_running=False,
            loaded_at=self._clock.seconds(),
            listeners=self._listeners.listeners,
            attendance=self._listeners.attendance,
            router=self._router,
            deliverer=self._deliverer,
            destinations=_at_rest,
        )


async def _at_rest(lanes: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    return {}


async def _post_nothing(composed: Composed) -> None:
    """There is no queue."""


def _no_content(message_id: str) -> Content:
    raise LookupError("there is no queue")
