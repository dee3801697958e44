"""What the way in stands on: the policy, and what makes sessions for listeners, the maildrop and the API.

Joined here so that service.py stays the list of parts, as outward.py does for the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from relay.bounce.notify import Reporter
from relay.message.step import Tell
from relay.operate import rules
from relay.operate.admission import Admission
from relay.operate.config import Config
from relay.operate.disk import Disk
from relay.operate.local_mail import LocalMail, Post, settings_for_files
from relay.operate.mail_by_http import MailByHttp, listener_of
from relay.operate.settings.operating import Admin
from relay.operate.settings.receiving import Listen
from relay.operate.shards import number_of
from relay.operate.surroundings import Surroundings
from relay.policy.policy import Policy, Service
from relay.policy.recipients import RecipientList
from relay.queue.store import Counts, Store
from relay.receive.attendance import Attendance
from relay.receive.factory import SmtpServerFactory
from relay.receive.recipients import RecipientFile
from relay.receive.scribe import Scribe
from relay.receive.settings import Entrance, Flush
from relay.receive.tls import ServerTls
from relay.route.reverse import ReverseNames
from relay.schedule.runner import Runner


def picks_up(config: Config, around: Surroundings) -> bool:
    """Whether this process takes in what lies in the maildrop: the first of several workers does."""
    return rules.maildrop(config) is not None and around.watch is not None and not number_of(config.spool)


def encrypted(factory: Any, tls: ServerTls | None, around: Surroundings) -> TLSMemoryBIOFactory:
    """The same, within TLS from the first octet (RFC 8314 §3.3)."""
    assert tls is not None, "a configuration without a certificate has no such listener"
    return TLSMemoryBIOFactory(tls, False, factory, around.reactor)


class Inward:
    """See the module.

    policy      what decides now
    factories   what makes sessions, each with what the configuration says of it
    attendance  who is here, at all listeners together
    disk        whether there is room
    """

    def __init__(
        self,
        config: Config,
        around: Surroundings,
        tell: Tell,
        *,
        policy: type[Policy],
        admission: Admission,
        store: Store,
        runner: Runner,
        scribe: Scribe,
        flush: Flush,
        counts: Callable[[], Counts | Deferred[Counts]],
    ) -> None:
        """policy  makes it, from its settings"""
        self.policy = policy(rules.policy_settings(config))
        self.factories: list[tuple[SmtpServerFactory, Listen]] = []
        self.attendance = Attendance()
        self.disk = Disk(config.spool, around.reactor, around.free)
        self._config = config
        self._around = around
        self._tell = tell
        self._policy_class = policy
        self._admission = admission
        self._store = store
        self._runner = runner
        self._scribe = scribe
        self._flush = flush
        self._counts = counts
        self._reverse = ReverseNames(around.names, around.reactor, around.hosts)
        self._recipients: RecipientFile | None = None
        self._local_mail: LocalMail | None = None

    def start(self, reporter: Reporter, post: Post) -> None:
        """Mail of this machine comes in.

        reporter  tells senders there what could not be taken
        post      puts such a report in the queue
        """
        self._watch_recipients()
        self._admission.start()
        if picks_up(self._config, self._around):
            factory = self._factory_of_local_mail()
            self._local_mail = LocalMail(self._config, self._around, self._tell, factory, reporter, post)
            self._local_mail.start()

    def served(self, listen: Listen) -> IProtocolFactory:
        """What makes the protocols of a listener."""
        factory = self.listener(listen)
        return encrypted(factory, factory.house.tls, self._around) if listen.service == "submissions" else factory

    def listener(self, listen: Listen) -> SmtpServerFactory:
        """Makes the sessions of a listener; it takes part in reloads and in the end."""
        admission = self._admission
        factory = SmtpServerFactory(
            clock=self._around.reactor,
            settings=rules.receive_settings(self._config),
            policy=self.policy,
            store=self._store,
            enqueue=self._runner.enqueue,
            flush=self._flush,
            service=rules.service(listen),
            tell=self._tell,
            reverse_name=self._reverse.name_now,
            counts=self._counts,
            has_room=self.disk.has_room,
            attendance=self.attendance,
            entrance=rules.entrance(listen),
            tls=admission.tls(listen),
            logins=admission.logins,
            trusted_certificates=admission.trusted,
            switchboard=self._around.switchboard,
            scribe=self._scribe,
        )
        self.factories.append((factory, listen))
        return factory

    def by_http(self, admin: Admin) -> MailByHttp:
        """What comes through the API is taken as at a listener for submission, from a client that has logged in."""
        return MailByHttp(self.listener(listener_of(admin)), self._config.place("admin"), admin.tls)

    def expiries(self) -> Sequence[Any]:
        """When our certificates end; see Admission."""
        return self._admission.expiries()

    def files(self) -> Sequence[str]:
        """What is wrong with each file that is watched, or empty."""
        return [*self._admission.troubles(), self._recipients.trouble if self._recipients is not None else ""]

    def unread(self) -> Sequence[str]:
        """Why the last reload could not read files that are not watched."""
        return self._admission.unread()

    # -- while it runs -------------------------------------------------------------------------

    def use(self, config: Config) -> None:
        """From now on by these rules; sessions that are open go on."""
        known = self.policy.recipients if config.accept.recipients == self._config.accept.recipients else None
        self._config = config
        self.policy = self._policy_class(rules.policy_settings(config), known)
        self._watch_recipients()
        settings = rules.receive_settings(config)
        admission = self._admission
        admission.use(config)
        for factory, listen in self.factories:
            factory.admit_by(admission.tls(listen), admission.logins, admission.trusted)
            factory.reconfigure(settings, self.policy)
        if self._local_mail is not None:
            self._local_mail.use(config, settings, self.policy)

    async def stop(self, within_s: float) -> None:
        """Fires when nobody is here any more; sessions with a message under way have so long to end it."""
        if self._recipients is not None:
            self._recipients.stop()
        self._admission.stop()
        ends = [factory.shut_down(within_s) for factory, _ in self.factories]
        if self._local_mail is not None:
            ends.append(Deferred.fromCoroutine(self._local_mail.stop(within_s)))
        await gatherResults(ends)

    # -- parts ---------------------------------------------------------------------------------

    def _factory_of_local_mail(self) -> SmtpServerFactory:
        return SmtpServerFactory(
            clock=self._around.reactor,
            settings=settings_for_files(rules.receive_settings(self._config)),
            policy=self.policy,
            store=self._store,
            enqueue=self._runner.enqueue,
            flush=self._flush,
            service=Service.LOCAL,
            tell=self._tell,
            has_room=self.disk.has_room,
            entrance=Entrance(listener="maildrop"),
            scribe=self._scribe,
        )

    def _watch_recipients(self) -> None:
        if self._recipients is not None:
            self._recipients.stop()
            self._recipients = None
        path = self._config.accept.recipients
        if path is not None:
            around = self._around
            self._recipients = RecipientFile(path, around.reactor, self._tell, self._learned, around.in_thread)
            self._recipients.start()

    def _learned(self, recipients: RecipientList) -> None:
        self.policy.recipients = recipients
