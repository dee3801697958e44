"""What the relay stands on and does not make itself: reactor, chance, names, network, disk.

The service takes all of it from here, so that the same service runs on real sockets and files, and in a
world where one seed decides what they do.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool

from relay.deliver.opening import Dial, dial_by
from relay.landing import landed
from relay.message.step import Tell
from relay.operate.inotify import WatchFolder, watch
from relay.operate.settings import Settings
from relay.operate.shards import number_of
from relay.operate.sockets import with_backlog
from relay.operate.systemd import notify
from relay.queue.files import DiskFiles
from relay.queue.schema import SchemaTooNew
from relay.queue.spool import SpoolInUse, SpoolNotOurs
from relay.queue.sqlite import SqliteStore
from relay.queue.store import Store, StoreUnavailable
from relay.queue.threads import threads
from relay.receive.watched import InThread, at_once
from relay.route.hosts import HostsFile
from relay.route.https import Https
from relay.route.names import Names
from relay.route.resolver import Resolver
from relay.wire import Switchboard, switchboard_of


@dataclass(frozen=True, slots=True)
class Surroundings:
    """reactor      the clock of everything, seconds since the epoch
    chance       for jitter and for the order of equal hosts
    names        the DNS
    hosts        /etc/hosts
    dial         how a next hop's address is reached
    listen       opens an endpoint (its Twisted description) for a factory
    open_store   the queue in a spool folder; raises StoreUnavailable
    free         octets free on the disk of a folder
    in_thread    runs the reading of a file aside
    https        asks web servers; None: no MTA-STS policies and no access tokens
    watch        tells when something comes into a folder; None: there is no maildrop
    switchboard  listens to the sockets of mail; None: the reactor does
    notify       tells the service manager how we are
    """

    reactor: IReactorTime
    chance: random.Random
    names: Names
    hosts: HostsFile
    dial: Dial
    listen: Callable[[str, Factory], Deferred[IListeningPort]]
    open_store: Callable[[Path, Tell], Store]
    free: Callable[[Path], int]
    in_thread: InThread = at_once
    https: Https | None = None
    watch: WatchFolder | None = None
    switchboard: Switchboard | None = None
    notify: Callable[..., None] = notify


def real_surroundings(reactor: IReactorTime, settings: Settings) -> Surroundings:
    """Real sockets, files, names and chance."""
    real = cast(Any, reactor)  # it provides every interface; no annotation can say so
    servers = [(server.address, server.port) for server in settings.dns.servers]
    dns = settings.dns
    names = Resolver(real, servers=servers, patience_s=dns.timeout_s, trusted=dns.trusted)
    hosts = HostsFile(reactor)
    board = switchboard_of(real)
    return Surroundings(
        reactor=reactor,
        chance=random.Random(),
        names=names,
        hosts=hosts,
        dial=dial_by(reactor),
        listen=lambda endpoint, factory: _listen(real, endpoint, factory, board),
        open_store=lambda folder, tell: _open_store(folder, tell, real, settings.retry.first_s),
        free=DiskFiles().free,
        in_thread=lambda read: deferToThreadPool(real, real.getThreadPool(), read),
        https=Https(reactor, names, hosts, unreachable=dns.unreachable),
        watch=lambda folder, came: watch(real, folder, came),
        switchboard=board,
    )


def _listen(reactor: Any, endpoint: str, factory: Factory, board: Switchboard | None) -> Deferred[IListeningPort]:
    listening: Deferred[IListeningPort] = serverFromString(reactor, with_backlog(endpoint)).listen(factory)
    return listening.addCallback(landed, board)


def _open_store(folder: Path, tell: Tell, reactor: Any, reclaim_s: float) -> Store:
    return open_sqlite(
        folder,
        clock=reactor,
        executors=threads(reactor),
        tell=tell,
        shard=number_of(folder),
        reclaim_s=reclaim_s,
    )


def open_sqlite(folder: Path, **parts: Any) -> SqliteStore:
    """The queue in a folder; see SqliteStore.  Raises StoreUnavailable, with what a person can do about it."""
    try:
        return SqliteStore(folder, **parts)
    except (SpoolInUse, SpoolNotOurs, SchemaTooNew, OSError) as error:
        raise StoreUnavailable(str(error)) from error
