"""The relay as a Twisted service: the one place where the parts are joined.

Order of the beginning: the ports are bound (as root, if need be), privileges are given up, the store is
opened, then the rest.  Order of the end: no new sessions, those with a message under way are waited for,
then the attempts, then the store is closed; all within a bound, and nothing acknowledged is lost by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
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
from relay.operate.complaints import Complaint
from relay.operate.config import Config, ConfigFaults
from relay.operate.desk import Desk
from relay.operate.doors import CannotBind, Doors, Doorway
from relay.operate.inquirer import Inquirer
from relay.operate.inward import Inward, encrypted, picks_up
from relay.operate.lookout import Lookout
from relay.operate.neighbours import Neighbours
from relay.operate.outward import Outward, router_of
from relay.operate.retention import Retention
from relay.operate.settings.operating import Admin
from relay.operate.settings.receiving import Listen
from relay.operate.steps import StepLog
from relay.operate.surroundings import Surroundings
from relay.policy.policy import Policy
from relay.queue.spool import SpoolInUse
from relay.queue.store import Content, Counts, Selection, Store, StoreUnavailable
from relay.receive.scribe import Scribe
from relay.receive.tls import TlsFault
from relay.schedule.runner import Runner

if TYPE_CHECKING:
    from relay.operate.web.opening import Front

GLANCE_S = 3.0
"""How long the page waits for a worker before it tells that it is silent."""
LAST_WORDS_S = 1.0
"""How long idle next hops have to answer our QUIT when the relay ends."""


class CannotStart(Exception):
    """The relay cannot work so; ``str()`` says why, and what would help."""


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
        self.loaded_at = surroundings.reactor.seconds()
        self.identity: privileges.Identity | None = None
        self._is_prepared = False
        self.doors = Doors(surroundings)
        self._doorways: list[tuple[Doorway, Listen]] = []
        self._front: Front | None = None
        self._stopped: Deferred[None] | None = None

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
            if maildrop is not None and picks_up(config, self._around):
                privileges.prepare_maildrop(maildrop, config.sendmail.maildrop is None, self.identity)
            self._admission = Admission(config, self._around, self.tell)
            for number, listen in enumerate(config.listen):
                door = self.doors.bind(listen.endpoint, config.place(f"listen[{number}].endpoint"))
                self._doorways.append((door, listen))
        except (privileges.PrivilegesFault, SpoolInUse, TlsFault, CannotBind) as fault:
            raise CannotStart(str(fault)) from None
        if config.admin is not None:
            self._bind_front(config.admin)

    def _bind_front(self, admin: Admin) -> None:
        """The page; what is merely built in, and finds its port taken, is done without."""
        from relay.operate.web.opening import Front, TokenFault  # who has no page does not pay for it

        clock = self._around.reactor
        try:
            asks, glance = Inquirer(clock, self.config.spool), Inquirer(clock, self.config.spool, GLANCE_S)
            self._front = Front(lambda: self.config, asks, clock, self.tell, self._around.in_thread, glance)
        except TokenFault as fault:
            raise CannotStart(str(fault)) from None
        site: IProtocolFactory = self._front.site
        if admin.tls:
            site = encrypted(site, self._admission.tls_of_page(), self._around)
        try:
            self.doors.bind(admin.http, self.config.place("admin.http")).inner = site
        except CannotBind as why:
            if self.config.says("admin"):
                raise CannotStart(str(why)) from None
            self.tell("trouble", place="admin.http", error=f"{why}; the relay works without its page")

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
        self.reporter = Reporter(rules.report_settings(config), lambda address: self.inward.policy.forwarded(address))
        self.runner = self._runner_of(self.store)
        self._adoption = Adoption(
            self._orphans,
            clock,
            self.tell,
            lambda folder: self._retention.take(around.open_store(folder, self.tell)),
            self._runner_of,
            self._adopted,
            self._lookout.leave,
        )
        self._retention = Retention(clock, lambda: (self.store, *self._adoption.stores), config.journal)
        self._scribe = Scribe(self.store, clock, self.tell)
        self._neighbours = Neighbours(clock, config.spool)
        self.inward = Inward(
            config,
            around,
            self.tell,
            policy=self._policy_class,
            admission=self._admission,
            store=self.store,
            runner=self.runner,
            scribe=self._scribe,
            flush=self._flush,
            counts=self._counts,
        )
        self._desk = Desk(self, around, self._lookout, self._neighbours)

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
        self._lookout.start(self._desk.vitals(), self.config)
        self._lookout.follow(self.config.spool, self.store)
        self._retention.start()
        self.inward.start(self.reporter, self._post)
        for door, listen in self._doorways:
            door.inner = self.inward.served(listen)
        if self._front is not None and self.config.admin is not None:
            self._front.submission.submit = self.inward.by_http(self.config.admin)
        try:
            self.doors.add(self._desk.open(self.config.spool, self.store, self.runner, is_own=True))
        except (CannotListenError, ValueError) as error:
            raise CannotStart(str(error)) from None

    def _adopted(self, folder: Path, store: Store, runner: Runner) -> IListeningPort | None:
        """A shard has been adopted: it is asked on its own socket, as before."""
        self._lookout.follow(folder, store)
        try:
            return self._desk.open(folder, store, runner, is_own=False)
        except (CannotListenError, ValueError) as error:
            self.tell("trouble", place=str(folder), error=str(error))
            return None

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

    def complaints_of_page(self) -> Iterable[Complaint]:
        """What the page complains of; nothing where there is none."""
        return self._front.complaints() if self._front is not None else ()

    def _content_of(self, message_id: str) -> Content:
        return self._adoption.open(message_id, self.store.open)

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

    def not_reloaded(self, fault: str) -> None:
        """A reload was asked for, and whoever read the file found it faulty; the old configuration stays in force."""
        self._lookout.reload_fault = fault

    def _reload(self) -> None:
        self.tell.reopen()
        if self._load is None:
            return
        try:
            newer = self._load()
        except ConfigFaults as faults:
            self.not_reloaded(str(faults.faults[0]))
            for fault in faults.faults:
                self.tell("trouble", place=str(fault.place), error=f"{fault}; the old configuration stays in force")
            return
        self._lookout.reload_fault = ""
        for key in self.config.needs_restart(newer):
            self.tell("trouble", place=newer.place(key), error=f"{key} has changed: that takes effect with a restart")
        self._use(newer)
        self.loaded_at = self._around.reactor.seconds()
        self.tell("reloaded", place=newer.source)

    def _use(self, config: Config) -> None:
        # What can be changed only by a restart is not half changed.
        self.config = config.keeping(self.config)
        self.tell.use(self.config.log.format, self.config.log.level)
        self.inward.use(self.config)
        self._lookout.use(self.config)
        if self._front is not None:
            self._front.reload()
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
        await self.doors.close()
        if self._front is not None:
            self._front.close()
        self._lookout.stop()
        await self.inward.stop(within_s)
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
