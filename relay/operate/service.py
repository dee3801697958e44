"""The relay as a Twisted service: the one place where the parts are joined.

Order of the beginning: the ports are bound (as root, if need be), privileges are given up, the store is
opened, then the rest.  Order of the end: no new sessions, those with a message under way are waited for,
then the attempts, then the store is closed; all within a bound, and nothing acknowledged is lost by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred, TimeoutError, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from relay import __version__
from relay.bounce.notify import Reporter
from relay.deliver.deliverer import Deliverer
from relay.deliver.function import Function
from relay.message import journey
from relay.message.address import Address
from relay.message.envelope import Composed, Origin
from relay.operate import privileges, rules, systemd
from relay.operate.admission import Admission
from relay.operate.adoption import Adoption
from relay.operate.answers.explain import ExplainAnswers, standing_here
from relay.operate.answers.forecast import ForecastAnswers
from relay.operate.answers.queue import QueueAnswers
from relay.operate.answers.status import StatusAnswers
from relay.operate.answers.trace import TraceAnswers
from relay.operate.config import Config, ConfigFaults
from relay.operate.control import listen_for_control
from relay.operate.disk import Disk
from relay.operate.explaining.premises import Premises
from relay.operate.inquirer import Inquirer
from relay.operate.local_mail import LocalMail, settings_for_files
from relay.operate.lookout import Answers, Lookout
from relay.operate.mail_by_http import MailByHttp
from relay.operate.merging import destinations_of
from relay.operate.neighbours import Neighbours
from relay.operate.outward import Outward, router_of
from relay.operate.retention import Retention
from relay.operate.settings.operating import Admin
from relay.operate.settings.receiving import Listen
from relay.operate.shards import number_of
from relay.operate.sockets import why_not
from relay.operate.steps import StepLog
from relay.operate.surroundings import Surroundings
from relay.operate.vitals import Vitals
from relay.policy.policy import Policy, Service
from relay.policy.recipients import RecipientList
from relay.queue.store import Content, Counts, Selection, Store, StoreUnavailable
from relay.receive.attendance import Attendance
from relay.receive.factory import SmtpServerFactory
from relay.receive.recipients import RecipientFile
from relay.receive.scribe import Scribe
from relay.receive.settings import Entrance
from relay.receive.tls import ServerTls, TlsFault
from relay.route.reverse import ReverseNames
from relay.schedule.runner import Runner

if TYPE_CHECKING:
    from relay.operate.web.opening import Front

GLANCE_S = 3.0
"""How long the page waits for a worker before it tells that it is silent."""
LAST_WORDS_S = 1.0
"""How long idle next hops have to answer our QUIT when the relay ends."""


class CannotStart(Exception):
    """The relay cannot work so; ``str()`` says why, and what would help."""


class Doorway(Factory):
    """A port that is open before the relay is: bound as root, served when all is ready."""

    noisy = False

    def __init__(self) -> None:
        self.inner: IProtocolFactory | None = None

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return cast(Any, self.inner).buildProtocol(addr) if self.inner is not None else None


class RelayService(TwistedService):
    """A whole relay.

    config    as it is in force
    load      reads the configuration again, for a reload; raises ConfigFaults
    log       where steps are told
    orphans   folders of shards that have no worker, and are adopted by this one
    policy    what decides; a class of one's own may decide otherwise
    functions take mail in the place of a next hop, by the name that routes call them by
    look      reads the configuration as it is written, for who wants to look at it; by default ``load``
    identity  the user to become, once the ports are bound; None: stay who we are
    """

    def __init__(
        self,
        config: Config,
        surroundings: Surroundings,
        log: StepLog,
        load: Callable[[], Config] | None = None,
        orphans: Iterable[Path] = (),
        look: Callable[[], Config] | None = None,
        *,
        policy: type[Policy] = Policy,
        functions: Mapping[str, Function] | None = None,
    ) -> None:
        self.config = config
        self.tell = log
        self._load = load
        self._lookout = Lookout(log, surroundings, lambda: self.config, look or load)
        self._around = surroundings
        self._orphans = orphans
        self._policy_class = policy
        self._functions = functions
        self._loaded_at = surroundings.reactor.seconds()
        self.identity: privileges.Identity | None = None
        self._is_prepared = False
        self._doors: list[tuple[Doorway, Listen]] = []
        self._ports: list[IListeningPort] = []
        self._factories: list[tuple[SmtpServerFactory, Listen]] = []
        self._attendance = Attendance()
        self._recipients: RecipientFile | None = None
        self._front: Front | None = None
        self._stopped: Deferred[None] | None = None
        self._local_mail: LocalMail | None = None

    # -- the beginning -----------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Binds the ports, and makes the spool the user's who will work in it.  Raises CannotStart."""
        config = self.config
        self._is_prepared = True
        try:
            if config.user is not None:
                self.identity = privileges.identity(config.user, config.group)
                privileges.load_what_is_loaded_late()
            privileges.prepare_spool(config.spool, self.identity)
            maildrop = rules.maildrop(config)
            if maildrop is not None and self._picks_up():
                privileges.prepare_maildrop(maildrop, config.sendmail.maildrop is None, self.identity)
            self._admission = Admission(config, self._around, self.tell)
        except (privileges.PrivilegesFault, TlsFault) as fault:
            raise CannotStart(str(fault)) from None
        for number, listen in enumerate(config.listen):
            door = Doorway()
            self._doors.append((door, listen))
            self._bind(listen.endpoint, door, config.place(f"listen[{number}].endpoint"))
        if config.admin is not None:
            self._bind_front(config.admin)

    def _bind_front(self, admin: Admin) -> None:
        """The page; what is merely built in, and finds its port taken, is done without."""
        from relay.operate.web.opening import Front, TokenFault  # who has no page does not pay for it

        clock, door = self._around.reactor, Doorway()
        try:
            asks, glance = Inquirer(clock, self.config.spool), Inquirer(clock, self.config.spool, GLANCE_S)
            self._front = Front(lambda: self.config, asks, clock, self.tell, self._around.in_thread, glance)
        except TokenFault as fault:
            raise CannotStart(str(fault)) from None
        try:
            self._bind(admin.http, door, self.config.place("admin.http"))
        except CannotStart as why:
            if self.config.says("admin"):
                raise
            self.tell("trouble", place="admin.http", error=f"{why}; the relay works without its page")
        tls = self._admission.tls_of_page() if admin.tls else None
        door.inner = self._encrypted(self._front.site, tls) if admin.tls else self._front.site

    def _bind(self, endpoint: str, door: Doorway, place: str) -> None:
        faults: list[Failure] = []
        # Endpoints of servers answer at once; one that did not could not be waited for before privileges are dropped.
        maybeDeferred(self._around.listen, endpoint, door).addCallbacks(self._ports.append, faults.append)
        for failure in faults:
            raise CannotStart(why_not(place, endpoint, failure))

    def startService(self) -> None:
        """Gives up privileges and begins to work.  Raises CannotStart."""
        if not self._is_prepared:
            self.privilegedStartService()
        try:
            if self.identity is not None:
                privileges.drop(self.identity)
            self.store = self._around.open_store(self.config.spool, self.tell)
        except (privileges.PrivilegesFault, StoreUnavailable) as fault:
            raise CannotStart(str(fault)) from None
        self._join()
        self._open()
        self.running = 1
        where = ", ".join(listen.endpoint for listen in self.config.listen)
        self._around.notify(systemd.READY, systemd.status(f"taking mail at {where}"))
        self.tell("started", place=where, spool=str(self.config.spool), version=__version__)
        for warning in self.config.warnings:
            self.tell("trouble", place=str(warning.place), error=warning.what)

    def _join(self) -> None:
        around, config = self._around, self.config
        clock = around.reactor
        self._outward = outward = Outward(config, around, self.tell, self._post)
        self.router = router_of(config, around, outward.securing)
        self.deliverer = Deliverer(
            clock=clock,
            dial=around.dial,
            router=self.router,
            open_content=self._content_of,
            hostname=config.hostname,
            settings=rules.delivery_settings(config),
            tell=self.tell,
            keyring=outward.keyring,
            witness=outward.witness,
            switchboard=around.switchboard,
            functions=self._functions,
        )
        self.reporter = Reporter(rules.report_settings(config), lambda address: self.policy.forwarded(address))
        self.runner = self._runner_of(self.store)
        self._adoption = Adoption(
            self._orphans,
            clock,
            self.tell,
            lambda folder: self._retention.take(around.open_store(folder, self.tell)),
            self._runner_of,
            self._adopted_control,
            self._lookout.leave,
        )
        self._retention = Retention(clock, lambda: (self.store, *self._adoption.stores), config.journal)
        self._scribe = Scribe(self.store, clock, self.tell)
        self._neighbours = Neighbours(clock, config.spool)
        self.policy = self._policy_class(rules.policy_settings(config))
        self._reverse = ReverseNames(around.names, clock, around.hosts)
        self._disk = Disk(config.spool, clock, around.free)

    def _runner_of(self, store: Store) -> Runner:
        return Runner(
            store=store,
            clock=self._around.reactor,
            random=self._around.chance,
            deliverer=self.deliverer,
            lane_of=self._lane_of,
            held_by=self._held_by if self.router.holds else None,
            reporter=self.reporter,
            settings=rules.schedule_settings(self.config),
            tell=self.tell,
        )

    def _open(self) -> None:
        """Everything is there: work begins, and clients are let in."""
        self._outward.start()
        self.runner.start()
        self._adoption.start()
        self._lookout.start(self._vitals(), self.config)
        self._lookout.follow(self.config.spool, self.store)
        self._retention.start()
        self._watch_recipients()
        self._admission.start()
        for door, listen in self._doors:
            factory = self._factory(listen)
            door.inner = self._encrypted(factory, factory.house.tls) if listen.service == "submissions" else factory
        if self._picks_up():
            self._local_mail = self._made_local_mail()
            self._local_mail.start()
        if self._front is not None and self.config.admin is not None:
            self._front.submission.submit = self._mail_by_http(self.config.admin)
        try:
            self._ports.append(self._control(self.config.spool, self.store, self.runner, self.tell.counts))
        except (CannotListenError, ValueError) as error:
            raise CannotStart(str(error)) from None

    def _factory(self, listen: Listen) -> SmtpServerFactory:
        """Makes the sessions of a listener; it takes part in reloads and in the end."""
        admission = self._admission
        factory = SmtpServerFactory(
            clock=self._around.reactor,
            settings=rules.receive_settings(self.config),
            policy=self.policy,
            store=self.store,
            enqueue=self.runner.enqueue,
            flush=self._flush,
            service=rules.service(listen),
            tell=self.tell,
            reverse_name=self._reverse.name_now,
            counts=self._counts,
            has_room=self._disk.has_room,
            attendance=self._attendance,
            entrance=rules.entrance(listen),
            tls=admission.tls(listen),
            logins=admission.logins,
            trusted_certificates=admission.trusted,
            switchboard=self._around.switchboard,
            scribe=self._scribe,
        )
        self._factories.append((factory, listen))
        return factory

    def _picks_up(self) -> bool:
        """Whether this process takes in what lies in the maildrop: the first of several workers does."""
        is_there = rules.maildrop(self.config) is not None and self._around.watch is not None
        return is_there and not number_of(self.config.spool)

    def _made_local_mail(self) -> LocalMail:
        factory = SmtpServerFactory(
            clock=self._around.reactor,
            settings=settings_for_files(rules.receive_settings(self.config)),
            policy=self.policy,
            store=self.store,
            enqueue=self.runner.enqueue,
            flush=self._flush,
            service=Service.LOCAL,
            tell=self.tell,
            has_room=self._disk.has_room,
            entrance=Entrance(listener="maildrop"),
            scribe=self._scribe,
        )
        return LocalMail(self.config, self._around, self.tell, factory, self.reporter, self._post)

    def _mail_by_http(self, admin: Admin) -> MailByHttp:
        """What comes through the API is taken as at a listener for submission, from a client that has logged in."""
        listen = Listen.model_construct(endpoint=admin.http, service="submission", tls="none", login="none")
        return MailByHttp(self._factory(listen), self.config.place("admin"), admin.tls)

    def _control(self, folder: Path, store: Store, runner: Runner, steps: Mapping[str, int]) -> IListeningPort:
        """Opens the control socket of a shard."""
        clock = self._around.reactor
        answers: tuple[Answers, ...] = (
            ExplainAnswers(self._premises, store, runner),
            QueueAnswers(store, runner, clock, self.tell),
            StatusAnswers(store, runner, clock, self.config.hostname, steps, clock.seconds()),
            TraceAnswers(store),
            ForecastAnswers(store, runner, clock, lambda: rules.schedule_settings(self.config)),
            *self._lookout.answers(store, runner, is_own=steps is self.tell.counts),
        )
        commands = {name: command for one in answers for name, command in one.by_name().items()}
        return listen_for_control(cast(Any, clock), folder, commands)

    def _vitals(self) -> Vitals:
        """How this process does, for who asks."""
        admission = self._admission
        return Vitals(
            clock=self._around.reactor,
            spool=self.config.spool,
            steps=self.tell.counts,
            meter=self._lookout.meter,
            attendance=self._attendance,
            deliverer=self.deliverer,
            disk=self._disk,
            names=self._around.names,
            started_at=self._around.reactor.seconds(),
            expiries=admission.expiries,
            files=lambda: [*admission.troubles(), self._recipients.trouble if self._recipients is not None else ""],
            reload=lambda: self._lookout.reload_fault,
            webhooks=self._lookout.couriers.rows,
        )

    def _premises(self) -> Premises:
        """What an explanation stands on, now."""
        listen = self.config.listen
        return Premises(
            config=self.config,
            is_running=True,
            loaded_at=self._loaded_at,
            listeners=[pair for pair in self._factories if pair[1] in listen],
            attendance=self._attendance,
            router=self.router,
            deliverer=self.deliverer,
            destinations=self._standing,
        )

    async def _standing(self, lanes: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """How these destinations stand, in all shards together."""
        own = await standing_here(self.store, self.runner, lanes)
        others: list[dict[str, Any]] = []
        if self._neighbours.are_there():
            others = await self._neighbours.ask("explain.destinations", destinations=list(lanes))
        return {row["destination"]: row for row in destinations_of([own, others])}

    def _adopted_control(self, folder: Path, store: Store, runner: Runner) -> IListeningPort | None:
        self._lookout.follow(folder, store)
        try:
            return self._control(folder, store, runner, {})  # the steps made there are counted with our own
        except (CannotListenError, ValueError) as error:
            self.tell("trouble", place=str(folder), error=str(error))
            return None

    def _encrypted(self, factory: Any, tls: ServerTls | None) -> TLSMemoryBIOFactory:
        """The same, within TLS from the first octet (RFC 8314 §3.3)."""
        assert tls is not None, "a configuration without a certificate has no such listener"
        return TLSMemoryBIOFactory(tls, False, factory, self._around.reactor)

    # -- what the parts ask of each other ------------------------------------------------------

    def _lane_of(self, sender: Address | None, recipient: Address) -> str:
        return self.router.route(sender, recipient).lane

    def _held_by(self, sender: Address | None, recipient: Address) -> str:
        route = self.router.route(sender, recipient)
        return f"held by {route.rule}, until it is released" if route.hold else ""

    async def _post(self, composed: Composed) -> None:
        """Puts a message of our own in the queue.  Raises StoreUnavailable."""
        draft = self.store.begin()
        try:
            written = draft.write(composed.content)
            if written is not None:
                await written
            readers = [str(one.address) for one in composed.recipients]
            began = self._around.reactor.seconds(), journey.composed("<>", composed.content, readers)
            origin = Origin(protocol="local")
            await self.runner.enqueue(draft, composed.envelope, origin, b"", composed.recipients, entries=(began,))
        except BaseException:
            draft.abort()
            raise

    def _flush(self, domain: str, subdomains: bool) -> Deferred[int | None]:
        """ETRN (RFC 1985 §5): what waits for a domain, and for those below it if they are meant, is due now."""
        now = self._around.reactor.seconds()
        wanted = [domain, f".{domain}"] if subdomains else [domain]
        flushed = [self.store.retry(Selection(recipient_domain=one), now) for one in wanted]
        flushed += [self._neighbours.changed("queue.retry", domain=one) for one in wanted]

        def looked(counts: list[int]) -> int | None:
            self.runner.look()
            return sum(counts)

        return gatherResults(flushed, consumeErrors=True).addCallback(looked)

    def _counts(self) -> Counts | Deferred[Counts]:
        """The queue in numbers, with the parts that others have."""
        own = self.store.counts()
        return self._neighbours.counts(own) if self._neighbours.are_there() else own

    def _content_of(self, message_id: str) -> Content:
        return self._adoption.open(message_id, self.store.open)

    def _watch_recipients(self) -> None:
        if self._recipients is not None:
            self._recipients.stop()
            self._recipients = None
        path = self.config.accept.recipients
        if path is not None:
            self._recipients = RecipientFile(
                path, self._around.reactor, self.tell, self._learned, self._around.in_thread
            )
            self._recipients.start()

    def _learned(self, recipients: RecipientList) -> None:
        self.policy.recipients = recipients

    # -- while it runs -------------------------------------------------------------------------

    def reload(self) -> None:
        """Reads the configuration again: routes, access and limits change without dropping a session.

        A configuration with faults changes nothing; the faults are told, each with its place.
        """
        self._around.notify(systemd.reloading())
        try:
            self._reload()
        finally:
            self._around.notify(systemd.READY)

    def _reload(self) -> None:
        self.tell.reopen()
        if self._load is None:
            return
        try:
            newer = self._load()
        except ConfigFaults as faults:
            self._lookout.reload_fault = str(faults.faults[0])
            for fault in faults.faults:
                self.tell("trouble", place=str(fault.place), error=f"{fault}; the old configuration stays in force")
            return
        self._lookout.reload_fault = ""
        for key in self.config.needs_restart(newer):
            self.tell("trouble", place=newer.place(key), error=f"{key} has changed: that takes effect with a restart")
        self._use(newer)
        self._loaded_at = self._around.reactor.seconds()
        self.tell("reloaded", place=newer.source)

    def _use(self, config: Config) -> None:
        known = self.policy.recipients if config.accept.recipients == self.config.accept.recipients else None
        # What can be changed only by a restart is not half changed.
        self.config = config.keeping(self.config)
        self.tell.use(self.config.log.format, self.config.log.level)
        self.policy = self._policy_class(rules.policy_settings(self.config), known)
        self._watch_recipients()
        settings = rules.receive_settings(self.config)
        admission = self._admission
        admission.use(self.config)
        self._lookout.use(self.config)
        if self._front is not None:
            self._front.reload()
        for factory, listen in self._factories:
            factory.admit_by(admission.tls(listen), admission.logins, admission.trusted)
            factory.reconfigure(settings, self.policy)
        if self._local_mail is not None:
            self._local_mail.use(self.config, settings, self.policy)
        self._retention.use(self.config.journal)
        self.router.replace(rules.route_table(self.config), rules.ourselves(self.config))
        self.deliverer.reconfigure(rules.delivery_settings(self.config))
        self.reporter.reconfigure(rules.report_settings(self.config))
        for runner in (self.runner, *self._adoption.runners):
            runner.reconfigure(rules.schedule_settings(self.config))
            runner.routes_changed(self._lane_of, self._held_by if self.router.holds else None)

    # -- the end -------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Fires when all is at rest and on disk."""
        if self._stopped is None:
            self.running = 0
            self._around.notify(systemd.STOPPING)
            self._stopped = Deferred.fromCoroutine(self._stop())
        stopped: Deferred[None] = Deferred()
        self._stopped.addBoth(stopped.callback)
        return stopped

    async def _stop(self) -> None:
        within_s = self.config.timeouts.shutdown_s
        until = self._around.reactor.seconds() + within_s
        await gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
        if self._front is not None:
            self._front.close()
        if self._recipients is not None:
            self._recipients.stop()
        self._admission.stop()
        self._lookout.stop()
        ends = [factory.shut_down(within_s) for factory, _ in self._factories]
        if self._local_mail is not None:
            ends.append(Deferred.fromCoroutine(self._local_mail.stop(within_s)))
        await gatherResults(ends)
        self._scribe.stop()
        self._retention.stop()
        left_s = max(1.0, until - self._around.reactor.seconds())
        await gatherResults([Deferred.fromCoroutine(self._adoption.stop(left_s)), self.runner.stop(left_s)])
        # What is under way even now is tried again when its lease has run out.
        await self.deliverer.stop().addTimeout(LAST_WORDS_S, self._around.reactor).addErrback(_trap_timeout)
        self._outward.stop()
        await self.store.close()
        self.tell("stopped")
        self.tell.close()


def _trap_timeout(failure: Failure) -> None:
    failure.trap(TimeoutError)
