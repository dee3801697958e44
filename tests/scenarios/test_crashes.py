"""kill -9 of the real process under load: whoever got a 250 has it delivered, reported or still in the queue.

RELAY_CRASH_ROUNDS multiplies the rounds, for runs by hand.
"""

from __future__ import annotations

import os
import random
import signal
import smtplib
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.scenarios.peers import Relay, free_port, greets, launch_relay, start_relay, wait_until
from tests.scenarios.promise import CONFIG, Fates, Load, check_promise, fates
from tests.scenarios.tracing import injected

pytestmark = pytest.mark.endtoend

TIMES = float(os.environ.get("RELAY_CRASH_ROUNDS", "1"))

Death = Callable[[Relay, Load, Fates, random.Random], None]
"""Brings about the end of a relay that is under load, and comes back when it has ended."""


def crash_rounds(folder: Path, rounds: int, seed: int, death: Death) -> None:
    chance = random.Random(seed)
    port = free_port()
    rounds = max(1, round(rounds * TIMES))
    with fates() as hop:
        config = CONFIG.format(port=hop.port)
        relay = start_relay(folder, config, port)
        try:
            with Load(port, seed) as load:
                for _ in range(rounds):
                    death(relay, load, hop, chance)
                    relay.process.wait(20)
                    hop.at_end = lambda: None
                    relay = start_relay(folder, config, port)
                twice = check_promise(load, hop, relay, rounds)
                print(f"{rounds} crashes, {len(load.acknowledged)} promised, {twice} twice")  # seen with pytest -s
            assert relay.end() == 0
        finally:
            relay.process.kill()
            relay.process.wait()


def at_any_time(relay: Relay, load: Load, hop: Fates, chance: random.Random) -> None:
    load.wait_for(chance.randint(3, 40))
    time.sleep(chance.random() * 0.02)
    relay.process.kill()


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    crash_rounds(tmp_path, 2, 1, at_any_time)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [100, 200])
def test_nothing_acknowledged_is_lost_by_kill_9_many_times(tmp_path: Path, seed: int) -> None:
    crash_rounds(tmp_path, 30, seed, at_any_time)


# -- at chosen points ------------------------------------------------------------------------------------------


def at_a_call(calls: str, most: int) -> Death:
    """On entering a random one, the first to ``most``, of these calls to the kernel, in each thread."""

    def death(relay: Relay, load: Load, hop: Fates, chance: random.Random) -> None:
        load.wait_for(1)
        with injected(relay.pid, calls, f"signal=SIGKILL:when={chance.randint(1, most)}"):
            wait_until(lambda: relay.process.poll() is not None, f"{calls} is called")

    return death


@pytest.mark.slow
@pytest.mark.parametrize(
    ("calls", "most"),
    [
        ("fdatasync,fsync", 20),
        ("pwrite64", 60),
        ("write", 30),
        ("?rename,?renameat,?renameat2,?link,?linkat", 4),
        ("?unlink,?unlinkat", 3),
        ("sendto", 60),
        ("recvfrom", 60),
        ("?open,openat", 10),
        ("ftruncate", 1),
    ],
)
def test_nothing_is_lost_by_kill_9_at_a_call_to_the_kernel(tmp_path: Path, calls: str, most: int) -> None:
    """Torn writes, a commit that is not synced, a body without its name, a 250 that never left."""
    crash_rounds(tmp_path, 6, len(calls), at_a_call(calls, most))


def before_the_next_hop_answers(relay: Relay, load: Load, hop: Fates, chance: random.Random) -> None:
    """RFC 1047: the hop has the message, and we do not know."""
    left = [chance.randint(1, 30)]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            relay.process.kill()

    hop.at_end = count
    wait_until(lambda: relay.process.poll() is not None, "the next hop got its message", 60)


def after_the_next_hop_has_answered(relay: Relay, load: Load, hop: Fates, chance: random.Random) -> None:
    """The answer has come, or is about to, and is not written down."""
    delivered = sum(hop.delivered.values()) + chance.randint(1, 30)
    wait_until(lambda: sum(hop.delivered.values()) >= delivered, "the next hop got its message", 60)
    time.sleep(chance.random() * 0.003)
    relay.process.kill()


def when_250_is_read(relay: Relay, load: Load, hop: Fates, chance: random.Random) -> None:
    """The moment from which on the promise holds."""
    load.wait_for(chance.randint(1, 10))
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=10) as smtp:
        name = f"d{chance.randrange(10**9)}y"
        body = "Subject: x\r\n\r\n" + ("x" * 70 + "\r\n") * chance.choice([1, 2_000])
        try:
            smtp.sendmail("ann@client.example", [f"{name}@elsewhere.example"], body)
        finally:
            relay.process.kill()
        load.acknowledged.add(name)
        relay.process.wait(20)
        smtp.close()


def when_the_final_dot_has_gone(relay: Relay, load: Load, hop: Fates, chance: random.Random) -> None:
    """No 250 was read: it may be there or not, and nothing else may suffer."""
    load.wait_for(chance.randint(1, 10))
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=10) as smtp:
        smtp.ehlo()
        smtp.mail("ann@client.example")
        smtp.rcpt("d0y@elsewhere.example")
        smtp.putcmd("DATA")
        smtp.getreply()
        smtp.send(b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * chance.choice([1, 3_000]) + b"half a line")
        smtp.send(b"\r\n.\r\n" if chance.random() < 0.7 else b"")
        time.sleep(chance.random() * 0.004)
        relay.process.kill()
        relay.process.wait(20)
        smtp.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "death",
    [
        before_the_next_hop_answers,
        after_the_next_hop_has_answered,
        when_250_is_read,
        when_the_final_dot_has_gone,
    ],
)
def test_nothing_is_lost_by_kill_9_at_a_chosen_moment(tmp_path: Path, death: Death) -> None:
    crash_rounds(tmp_path, 10, 7, death)


def while_starting(relay: Relay, load: Load, hop: Fates, chance: random.Random) -> None:
    """A restart storm: it is killed while it takes up what the last one left, again and again."""
    load.wait_for(chance.randint(3, 30))
    relay.process.kill()
    relay.process.wait(20)
    for _ in range(4):
        again = launch_relay(relay.config)
        end = time.monotonic() + chance.uniform(0.2, 1.5)
        while time.monotonic() < end and not greets(relay.port):
            time.sleep(0.01)
        time.sleep(chance.random() * 0.05)
        again.kill()
        again.wait(20)


@pytest.mark.slow
def test_nothing_is_lost_by_kill_9_while_it_starts(tmp_path: Path) -> None:
    crash_rounds(tmp_path, 6, 11, while_starting)


def by_stopping_it(relay: Relay, load: Load, hop: Fates, chance: random.Random) -> None:
    """An impatient operator: SIGTERM, and SIGKILL before it is done."""
    load.wait_for(chance.randint(3, 30))
    relay.process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        relay.process.wait(chance.random() * 0.05)
    relay.process.kill()


@pytest.mark.slow
def test_nothing_is_lost_when_a_stop_is_cut_short(tmp_path: Path) -> None:
    crash_rounds(tmp_path, 12, 13, by_stopping_it)
