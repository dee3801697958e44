"""kill -9 of the real process under load: whoever got a 250 has it delivered or still in the queue."""

from __future__ import annotations

import random
import signal
import smtplib
import threading
from pathlib import Path

import pytest

from tests.scenarios.peers import Destination, Relay, destination, free_port, start_relay, wait_until

pytestmark = pytest.mark.endtoend

CONFIG = 'routes:\n  - to: "*"\n    via: smtp://127.0.0.1:{port}\nretry: {{first: 1s, longest: 1s}}\n'


class Ledger:
    """What was acknowledged: written down only after the 250 has been read."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.sent = 0
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    def next_name(self) -> str:
        with self._lock:
            self.sent += 1
            return f"n{self.sent}"

    def client(self, port: int, seed: int) -> None:
        """Sends until told to stop; a connection lost is a message not acknowledged."""
        chance = random.Random(seed)
        while not self.stopped.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", port, timeout=10) as smtp:
                    for _ in range(chance.randint(1, 5)):
                        name = self.next_name()
                        # Some are larger than what is kept in a row, and take the other way to the disk.
                        size = chance.choice([10, 3_000, 3_000, 3_000, 100_000])
                        body = f"Subject: {name}\r\n\r\n" + ("x" * 70 + "\r\n") * (size // 72 + 1)
                        smtp.sendmail("ann@client.example", [f"{name}@elsewhere.example"], body)
                        self.acknowledged.append(name)
            except (OSError, smtplib.SMTPException):
                self.stopped.wait(0.05)


def delivered(hop: Destination) -> list[str]:
    return [recipient.split("@")[0] for arrived in list(hop.arrived) for recipient in arrived.recipients]


def crash_rounds(tmp_path: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    relay_port = free_port()
    ledger = Ledger()
    with destination() as hop:
        config = CONFIG.format(port=hop.port)
        relay: Relay = start_relay(tmp_path, config, relay_port)
        clients = [threading.Thread(target=ledger.client, args=(relay_port, seed + n)) for n in range(4)]
        for client in clients:
            client.start()
        try:
            for number in range(rounds):
                enough = len(ledger.acknowledged) + chance.randint(5, 60)
                wait_until(lambda enough=enough: len(ledger.acknowledged) >= enough, f"load in round {number}")  # type: ignore[misc]
                relay.end(signal.SIGKILL)
                relay = start_relay(tmp_path, config, relay_port)
        finally:
            ledger.stopped.set()
            for client in clients:
                client.join()
        promised = set(ledger.acknowledged)
        wait_until(
            lambda: promised <= set(delivered(hop)),
            "every acknowledged message at the next hop",
            limit_s=60,
        )
        names = delivered(hop)
        twice = len(names) - len(set(names))
        # At most what was in flight at a crash can arrive twice (RFC 1047).
        assert twice <= rounds * 50
        assert relay.end() == 0


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    crash_rounds(tmp_path, rounds=2, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [100, 200])
def test_nothing_acknowledged_is_lost_by_kill_9_many_times(tmp_path: Path, seed: int) -> None:
    crash_rounds(tmp_path, rounds=15, seed=seed)
