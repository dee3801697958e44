"""How unkind a world is: drawn from its seed, once, before anything happens.

Each kind of trouble is there in some worlds and missing in others, so that it is met alone as well as in company.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(slots=True)
class Climate:
    """Rates are per simulated day, shares between 0 and 1.

    letters           visits of clients
    bursts            visits that come all at once, to one domain
    domains           how many domains there are beside the kind one, the local ones and the one that does not exist
    give_up_s, warn_s the relay's retry settings, with first_s and longest_s
    per_domain        deliveries to one destination at once
    active            recipients in the relay's memory
    bad_hours         share of the time in which a next hop has a mood
    bad_names         likewise for a domain's DNS
    breaks, cut       share of links that break, or cut pieces
    slow_disk_s       the longest that a piece of work on the disk takes
    crashes           by power, by kill and by order (a clean restart)
    disk_faults       single operations that fail
    full_hours        periods without room on the disk
    flushes, reloads  the operator's doing
    bad_clients       share of visits that do not go as they should
    large             share of large messages
    has_tls           the relay and some of the hosts know TLS, and users can log in
    bad_tls           share of the time in which a host's TLS has a mood
    smart_tls         what smart.example has to show: "opportunistic" (nothing), "require", "verify"
    smart_logins      it wants a login too
    orders            what an operator asks for over the control socket
    workers           the most processes that share the work; each start takes some of these numbers
    """

    letters: float = 60.0
    bursts: float = 0.0
    domains: int = 4
    give_up_s: float = 10 * HOUR_S
    warn_s: float | None = 2 * HOUR_S
    first_s: float = 60.0
    longest_s: float = HOUR_S
    per_domain: int = 4
    active: int = 200
    bad_hours: float = 0.0
    bad_names: float = 0.0
    breaks: float = 0.0
    cut: float = 0.0
    slow_disk_s: float = 0.01
    power_cuts: float = 0.0
    kills: float = 0.0
    restarts: float = 0.0
    disk_faults: float = 0.0
    full_hours: float = 0.0
    flushes: float = 0.0
    reloads: float = 0.0
    bad_clients: float = 0.0
    large: float = 0.0
    has_tls: bool = False
    bad_tls: float = 0.0
    smart_tls: str = "opportunistic"
    smart_logins: bool = False
    orders: float = 0.0
    workers: int = 1

    def __str__(self) -> str:
        return " ".join(f"{one.name}={getattr(self, one.name)}" for one in fields(self))


def climate_of(chance: Random) -> Climate:
    """The climate of a world."""

    def sometimes(share: float, *values: float) -> float:
        value = chance.choice(values)
        return value if chance.random() < share else 0.0

    has_tls = chance.random() < 0.5
    smart_tls = chance.choice(("opportunistic", "require", "verify", "verify")) if has_tls else "opportunistic"
    return Climate(
        letters=chance.choice((30.0, 60.0, 90.0)),
        bursts=sometimes(0.3, 1.0, 2.0),
        domains=chance.randint(2, 6),
        give_up_s=chance.choice((2.0, 6.0, 12.0)) * HOUR_S,
        warn_s=chance.choice((None, 0.5 * HOUR_S, HOUR_S)),
        first_s=chance.choice((60.0, 300.0)),
        longest_s=chance.choice((0.5, 1.0)) * HOUR_S,
        per_domain=chance.choice((1, 3, 6)),
        active=chance.choice((60, 200, 10_000)),
        bad_hours=sometimes(0.8, 0.2, 0.5, 0.8),
        bad_names=sometimes(0.4, 0.1, 0.4),
        breaks=sometimes(0.5, 0.02, 0.1, 0.3),
        cut=sometimes(0.5, 0.2, 0.8),
        slow_disk_s=chance.choice((0.002, 0.05, 2.0)),
        power_cuts=sometimes(0.5, 1.0, 4.0, 12.0),
        kills=sometimes(0.3, 2.0, 6.0),
        restarts=sometimes(0.3, 2.0, 6.0),
        disk_faults=sometimes(0.3, 3.0, 20.0),
        full_hours=sometimes(0.2, 1.0, 3.0),
        flushes=sometimes(0.2, 4.0),
        reloads=sometimes(0.2, 4.0),
        bad_clients=sometimes(0.7, 0.1, 0.4),
        large=sometimes(0.4, 0.03, 0.1),
        has_tls=has_tls,
        bad_tls=sometimes(0.7, 0.2, 0.6) if has_tls else 0.0,
        smart_tls=smart_tls,
        smart_logins=smart_tls == "verify" and chance.random() < 0.5,
        orders=sometimes(0.4, 6.0, 30.0),
        workers=chance.choice((1, 1, 1, 2, 3)),
    )
