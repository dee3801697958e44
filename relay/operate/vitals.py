"""How one process of the relay does: its numbers for metrics, and what it has to complain of.

Nothing is counted here: parts count what they do, and are looked at when somebody asks.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorTime

from relay.deliver.deliverer import Deliverer
from relay.operate import complaints
from relay.operate.complaints import Complaint
from relay.operate.disk import Disk
from relay.operate.meter import Meter
from relay.operate.metrics import STEPS, Numbers, Value, histogram
from relay.receive.attendance import Attendance
from relay.route.names import Names
from relay.route.resolver import SILENT_FOR_LIMIT, Resolver

PROC = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Vitals:
    """
    steps        step -> how often it was made
    started_at   seconds since the epoch
    expiries     certificates of ours: file and when it runs out
    files        why files that are watched cannot be read as they are now
    unread       why the last reload could not read files that are not watched
    reload       why the last reload changed nothing; empty when it did
    page         what the page complains of
    webhooks     how each receiver is told
    """

    clock: IReactorTime
    spool: Path
    steps: Mapping[str, int]
    meter: Meter
    attendance: Attendance
    deliverer: Deliverer
    disk: Disk
    names: Names
    started_at: float
    expiries: Callable[[], Iterable[tuple[str, float]]]
    files: Callable[[], Iterable[str]]
    unread: Callable[[], Iterable[str]]
    reload: Callable[[], str]
    page: Callable[[], Iterable[Complaint]]
    webhooks: Callable[[], Sequence[Mapping[str, Any]]]

    def numbers(self) -> Numbers:
        """What this process counts, beside its queue."""
        meter, guards = self.meter, self.deliverer.guards
        return {
            "relay_start_time_seconds": self.started_at,
            **_of_process(),
            **self._of_disk(),
            "relay_sessions_open": self.attendance.total,
            "relay_accepted_bytes_total": meter.taken_octets,
            "relay_accepted_recipients_total": meter.taken_recipients,
            "relay_refusals_total": list(meter.refusals.items()),
            "relay_login_failures_total": meter.failed_logins,
            "relay_client_tls_failures_total": meter.failed_handshakes,
            "relay_delivered_bytes_total": meter.delivered_octets,
            "relay_delivery_delay_seconds": histogram(meter.delays_s),
            "relay_connections_out": self.deliverer.pool.count,
            "relay_tls_failures_total": list(guards.failures.items()),
            "relay_hop_logins_refused": len(guards.keyring.refusals),
            **self._of_dns(),
            "relay_certificate_expiry_time_seconds": list(self.expiries()),
            **self._of_webhooks(),
            **{metric.name: self.steps.get(step, 0) for step, metric in STEPS.items()},
        }

    def complaints(self, is_full: bool) -> Iterator[Complaint]:
        """What is wrong here, beside the queue.

        is_full  the store refuses new mail for want of room
        """
        refusals = self.deliverer.guards.keyring.refusals.items()
        is_full = is_full or not self.disk.has_room(0)
        yield from complaints.of_disk(str(self.spool), self.disk.free(), is_full)
        yield from complaints.of_logins((hop.name(), user, why) for hop, (user, why) in refusals)
        yield from complaints.of_files(filter(None, self.files()))
        yield from complaints.of_unread(self.unread())
        yield from complaints.of_certificates(self.expiries(), self.clock.seconds())
        if isinstance(self.names, Resolver):
            yield from complaints.of_dns(self.names.silent_for, SILENT_FOR_LIMIT)
        yield from complaints.of_webhooks(self.webhooks(), self.clock.seconds())
        yield from complaints.of_reload(self.reload())
        yield from self.page()

    def _of_disk(self) -> dict[str, Value]:
        free = self.disk.free()
        try:
            disk = os.statvfs(self.spool)
        except OSError:
            return {}
        size = disk.f_blocks * disk.f_frsize
        return {"relay_spool_size_bytes": size, **({"relay_spool_free_bytes": free} if free is not None else {})}

    def _of_webhooks(self) -> dict[str, Value]:
        rows = self.webhooks()
        names = {"events_total": "sent", "failures_total": "failures", "dropped_total": "dropped", "behind": "behind"}
        return {
            f"relay_webhook_{name}": [(row["webhook"], row[field]) for row in rows] for name, field in names.items()
        }

    def _of_dns(self) -> dict[str, Value]:
        if not isinstance(self.names, Resolver):
            return {}
        return {"relay_dns_questions_total": self.names.asked, "relay_dns_failures_total": self.names.unanswered}


def _of_process() -> dict[str, Value]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    found: dict[str, Value] = {
        "relay_cpu_seconds_total": used.ru_utime + used.ru_stime,
        "relay_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    try:
        pages = int((PROC / "statm").read_text().split()[1])
        found["relay_resident_memory_bytes"] = pages * resource.getpagesize()
        found["relay_open_fds"] = len(os.listdir(PROC / "fd"))  # noqa: PTH208 - thousands of them
    except (OSError, IndexError, ValueError):  # not Linux
        pass
    return found
