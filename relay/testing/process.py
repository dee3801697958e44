"""One process of a relay on a machine in memory: what the service stands on there, until it ends or is ended."""

from __future__ import annotations

from pathlib import Path
from random import Random

from relay.message.step import Tell
from relay.operate.shards import number_of
from relay.operate.surroundings import Surroundings, open_sqlite
from relay.queue.sqlite import SqliteStore
from relay.queue.store import Store
from relay.route.hosts import HostsFile
from relay.route.names import Names
from relay.testing.clock import LifeClock
from relay.testing.database import SimulatedVfs
from relay.testing.disk import Disk, SimulatedFiles
from relay.testing.executors import leisurely
from relay.testing.network import Network

RESERVE_OCTETS = 256 * 1024
LEAVE_FREE_OCTETS = 64 * 1024


class Process:
    """See the module.

    clock   its reactor; what is planned there does not happen any more when the process has ended
    shards  the stores that it has open, by the number of their shard
    """

    def __init__(self, disk: Disk, network: Network, chance: Random, *, slow_disk_s: float, reclaim_s: float) -> None:
        """slow_disk_s  how long one piece of work with the disk may take
        reclaim_s    see SqliteStore
        """
        self.clock = LifeClock(network.clock, network)
        self.shards: dict[int, SqliteStore] = {}
        self._disk = disk
        self._network = network
        self._chance = chance
        self._slow_disk_s = slow_disk_s
        self._reclaim_s = reclaim_s
        self._files = SimulatedFiles(disk)
        self._vfs = SimulatedVfs(disk)

    def surroundings(self, names: Names, hosts: Path) -> Surroundings:
        """What a service of this process stands on.

        hosts  the file /etc/hosts
        """
        return Surroundings(
            reactor=self.clock,
            chance=self._chance,
            names=names,
            hosts=HostsFile(self.clock, hosts),
            dial=self._network.dial_of(self.clock),
            listen=self._network.listen_of(self.clock),
            open_store=self.open_store,
            free=lambda folder: self._disk.free(),
        )

    def open_store(self, folder: Path, tell: Tell) -> Store:
        shard = number_of(folder)
        store = open_sqlite(
            folder,
            clock=self.clock,
            executors=leisurely(self.clock, self._chance, self._slow_disk_s),
            tell=tell,
            files=self._files,
            shard=shard,
            reserve_octets=RESERVE_OCTETS,
            leave_free_octets=LEAVE_FREE_OCTETS,
            reclaim_s=self._reclaim_s,
            vfs=self._vfs.name,
        )
        self.shards[shard] = store
        return store

    def die(self) -> None:
        """Nothing of it happens any more.  What it has open is closed as a dead process's is: nothing is written."""
        self.clock.is_over = True
        was_dead, self._disk.is_dead = self._disk.is_dead, True
        for store in self.shards.values():
            if store._closed is not None and store._closed.called:
                continue
            store._listing.close()
            store._writer.close()
            store._spool.close()
        self._files.let_go()
        self._disk.is_dead = was_dead
