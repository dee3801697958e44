"""What is said on the wire, in and out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from relay.deliver import attempt as attempts
from relay.deliver.attempt import Attempt
from relay.deliver.connection import Connection
from relay.message.outcome import Deferred
from relay.message.reply import reply
from relay.receive.reception import Reception
from relay.smtp.server import ServerSession
from relay.smtp.stuffing import DotStuffing
from tests.simulate.defects import Around, around, breakage


@breakage()
def reply_out_of_order() -> Sequence[Any]:
    """Of the replies to a group of commands the last two leave in the wrong order."""

    def swapped(data_to_send: Around, session: Any) -> bytes:
        lines = data_to_send(session).split(b"\r\n")
        if len(lines) > 3 and not any(line[3:4] == b"-" for line in lines):
            lines[-3], lines[-2] = lines[-2], lines[-3]
        return b"\r\n".join(lines)

    return [around(ServerSession, "data_to_send", swapped)]


@breakage(disk_faults=20.0)
def say_5yz_for_our_own_trouble() -> Sequence[Any]:
    """A failing disk is answered with 554: the client bounces mail for our mistake."""
    bad = reply(554, "5.3.0", "Something is wrong here")
    return [around(Reception, "trouble", lambda trouble, *args: trouble(*args) and bad)]


@breakage()
def drop_the_dot_stuffing() -> Sequence[Any]:
    """A line that begins with a dot goes out as it is."""
    return [mock.patch.object(DotStuffing, "stuff", lambda stuffing, piece: piece)]


@breakage(bad_hours=0.8)
def deliver_twice() -> Sequence[Any]:
    """Where no answer to the content came, the next host is tried at once."""

    def impatient(decide: Around, attempt: Any, place: int, outcome: Any) -> None:
        if isinstance(outcome, Deferred) and outcome.in_doubt:
            outcome = replace(outcome, in_doubt=False)
        decide(attempt, place, outcome)

    return [around(Attempt, "_decide", impatient)]


@breakage(bad_hours=0.8)
def doubt_not_recorded() -> Sequence[Any]:
    """A delivery that was not answered is retried later, as if it had certainly failed."""

    def certain(outcome_of: Around, *args: Any, **kw: Any) -> Any:
        outcome = outcome_of(*args, **kw)
        is_doubt = isinstance(outcome, Deferred) and outcome.in_doubt
        return replace(outcome, in_doubt=False) if is_doubt else outcome

    return [around(attempts, "outcome_of", certain)]


@breakage(bad_hours=0.8)
def no_time_out() -> Sequence[Any]:
    """A next hop that keeps silent is waited for without end."""
    return [mock.patch.object(Connection, "check", lambda *args: None)]
