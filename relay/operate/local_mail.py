"""The mail that programs of this machine leave in the maildrop, joined with the relay that takes it in.

Only the first of several workers picks it up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from twisted.internet.defer import gatherResults

from relay.bounce.notify import Reporter
from relay.message.envelope import Composed, Message, Recipient
from relay.message.outcome import Final
from relay.message.step import Tell
from relay.operate import rules
from relay.operate.config import Config
from relay.operate.surroundings import Surroundings
from relay.policy.policy import Policy
from relay.receive.factory import SmtpServerFactory
from relay.receive.maildrop.looking import Maildrop
from relay.receive.maildrop.pickup import PickUp
from relay.receive.maildrop.taking import Beginning, Taking
from relay.receive.maildrop.turns import Rests
from relay.receive.settings import ReceiveSettings

_ENDLESS = 1 << 30

Post = Callable[[Composed], Awaitable[None]]
"""Puts a message of ours in the queue.  Fails with StoreUnavailable."""


class LocalMail:
    """See the module.

    factory  makes the sessions of Service.LOCAL
    """

    def __init__(
        self,
        config: Config,
        around: Surroundings,
        tell: Tell,
        factory: SmtpServerFactory,
        reporter: Reporter,
        post: Post,
    ) -> None:
        folder = rules.maildrop(config)
        assert folder is not None and around.watch is not None, "there is local mail only where there is a maildrop"
        clock, in_thread, rests = around.reactor, around.in_thread, Rests()
        self._factory = factory
        self._clock = clock
        self._reporter = reporter
        self._post = post
        self._taking = Taking(
            factory=factory,
            clock=clock,
            tell=tell,
            submitter=rules.submitters(config),
            tell_sender=self._tell_sender,
            give_up_s=config.retry.give_up_after_s,
            in_thread=in_thread,
            rests=rests,
        )
        self._pick_up = PickUp(
            opened=lambda: Maildrop(folder),
            watch=partial(around.watch, folder),
            taking=self._taking,
            rests=rests,
            clock=clock,
            tell=tell,
            in_thread=in_thread,
            place=f"{config.place('sendmail.maildrop')}: {folder}",
        )

    def start(self) -> None:
        self._pick_up.start()

    def use(self, config: Config, settings: ReceiveSettings, policy: Policy) -> None:
        """From now on by these rules."""
        self._factory.reconfigure(settings_for_files(settings), policy)
        self._taking.submitter = rules.submitters(config)
        self._taking.give_up_s = config.retry.give_up_after_s

    async def stop(self, within_s: float) -> None:
        """Fires when what was being taken in is in the queue, or forgotten: it is in the maildrop still."""
        await gatherResults([self._pick_up.stop(), self._factory.shut_down(within_s)])

    async def _tell_sender(
        self, message: Message, finals: Sequence[tuple[Recipient, Final]], beginning: Beginning
    ) -> bool:
        """See relay.receive.maildrop.taking.TellSender."""
        now = self._clock.seconds()
        content = await beginning(self._reporter.content_wanted(message, finals))
        if message.envelope.reverse_path is not None:
            composed = self._reporter.compose(message, finals, content, now)
            if composed is not None:
                await self._post(composed)
            return True
        notice = self._reporter.undeliverable(message, finals, content, now)
        if isinstance(notice, Composed):
            await self._post(notice)
        return notice != "hold"


def settings_for_files(settings: ReceiveSettings) -> ReceiveSettings:
    """What bounds connections and bad commands has no meaning where each session is one file, brought by ourselves."""
    return replace(settings, errors_limit=_ENDLESS, connections_limit=_ENDLESS)
