"""What the scheduler can be told: the settings of all its parts."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.schedule.retry import RetrySettings
from relay.schedule.window import WindowSettings


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """Times in seconds.

    retry              the back-off of messages
    window             the window and the rests of destinations
    active_recipients  so many recipients are in memory at most, half a KiB each and two a message, so that a list
                       of ten thousand need not be read back; the others wait in the store
    active_octets      so much content is carried in memory at most
    in_flight          attempts going on at once, over all destinations
    per_transaction    recipients in one transaction (RFC 5321 §4.5.3.1.8: every host takes 100)
    per_lease          messages taken from the store at once
    lease_s            how long what is taken in hand is safe from being taken again after a crash; longer than
                       an attempt usually lasts
    gather_s           a failure waits this long at most for the message's other recipients that are being
                       tried, so that one report tells of all
    rewrite_s          how often results that the store would not take are offered again
    unwritten          with so many of them nothing new is tried: what is delivered but not recorded
                       is delivered twice when we die now
    destinations       so many destinations are remembered at most
    """

    retry: RetrySettings = field(default_factory=RetrySettings)
    window: WindowSettings = field(default_factory=WindowSettings)
    active_recipients: int = 10_000
    active_octets: int = 64 * 1024 * 1024
    in_flight: int = 200
    per_transaction: int = 100
    per_lease: int = 100
    lease_s: float = 900.0
    gather_s: float = 60.0
    rewrite_s: float = 5.0
    unwritten: int = 100
    destinations: int = 10_000
