"""The promise, held against the real program: after 250 each recipient is delivered, reported or visible in the queue.

``Load`` sends and writes down each 250 it has read; ``Fates`` is the next hop, and what it does with a recipient is
told by the first letter of its name; ``check_promise`` compares the two.
"""

from __future__ import annotations

import json
import random
import re
import smtplib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.scenarios.peers import Destination, Relay, free_port, wait_until

DELIVERED, REFUSED, WAITING = "d", "r", "w"
"""The first letter of a recipient's name: what the next hop will do with it."""

CONFIG = 'routes:\n  - to: "*"\n    via: smtp://127.0.0.1:{port}\nretry: {{first: 1s, longest: 1s}}\n'
_FINAL = re.compile(rb"^Final-Recipient: *rfc822; *([a-z0-9]+)@", re.MULTILINE | re.IGNORECASE)
_WAITING_LIMIT = 30
"""More recipients that wait for ever only cost time."""


@dataclass
class Fates(Destination):
    """A next hop that is told by a recipient's name what to do.

    at_end  called when a content has arrived, before it is answered
    """

    at_end: Callable[[], None] = lambda: None
    reported: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith(REFUSED):
            return "550 5.1.1 No such user"
        if address.startswith(WAITING):
            return "450 4.2.1 Not now"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.at_end()
        content = envelope.original_content or b""
        if envelope.mail_from not in (None, "", "<>"):
            self.delivered.update(recipient.partition("@")[0] for recipient in envelope.rcpt_tos)
        else:
            self.reported.update(name.decode() for name in _FINAL.findall(content))
        return "250 2.0.0 OK"


@contextmanager
def fates() -> Iterator[Fates]:
    """Such a next hop on loopback."""
    hop = Fates(free_port())
    controller = Controller(hop, hostname=hop.host, port=hop.port)
    controller.start()
    try:
        yield hop
    finally:
        controller.stop()


class Load:
    """Clients that send until they are told to stop.

    acknowledged  recipients of messages whose 250 was read
    refused       replies 4yz and 5yz, by code
    """

    def __init__(self, port: int, seed: int, clients: int = 4) -> None:
        self.acknowledged: set[str] = set()
        self.refused: Counter[int] = Counter()
        self._port = port
        self._sent = 0
        self._waiting = 0
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._clients = [threading.Thread(target=self._send, args=(seed * 100 + n,)) for n in range(clients)]

    def __enter__(self) -> Load:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopped.set()
        for client in self._clients:
            client.join()

    def wait_for(self, more: int, what: str = "mail is taken") -> None:
        enough = len(self.acknowledged) + more
        wait_until(lambda: len(self.acknowledged) >= enough, what, limit_s=60)

    def _names(self, chance: random.Random) -> list[str]:
        kinds = chance.choices(
            [DELIVERED, DELIVERED + REFUSED, DELIVERED + REFUSED + WAITING, DELIVERED * 3], [80, 8, 4, 8]
        )[0]
        with self._lock:
            self._waiting += kinds.count(WAITING)
            if self._waiting > _WAITING_LIMIT:
                kinds = kinds.replace(WAITING, "")
            self._sent += 1
            return [f"{kind}{self._sent}x{place}" for place, kind in enumerate(kinds)]

    def _send(self, seed: int) -> None:
        """A connection lost is a message not acknowledged."""
        chance = random.Random(seed)
        while not self._stopped.is_set():
            with suppress(OSError, smtplib.SMTPException), smtplib.SMTP("127.0.0.1", self._port, timeout=10) as smtp:
                for _ in range(chance.randint(1, 5)):
                    self._send_one(smtp, chance)
            self._stopped.wait(0.02)

    def _send_one(self, smtp: smtplib.SMTP, chance: random.Random) -> None:
        names = self._names(chance)
        # Some are larger than what is kept in a row, and take the other way to the disk.
        size = chance.choice([10, 3_000, 3_000, 3_000, 100_000])
        body = f"Subject: {names[0]}\r\n\r\n" + ("x" * 70 + "\r\n") * (size // 72 + 1)
        try:
            smtp.sendmail("ann@client.example", [f"{name}@elsewhere.example" for name in names], body)
        except smtplib.SMTPResponseException as refused:
            self.refused[refused.smtp_code] += 1
            raise
        self.acknowledged.update(names)


def queued(relay: Relay) -> set[str]:
    """The recipients that an operator sees in the queue."""
    rows = relay.command("queue", "list", "--json").stdout.splitlines()
    return {json.loads(row)["recipient"].partition("@")[0] for row in rows}


def check_promise(load: Load, hop: Fates, relay: Relay, crashes: int, limit_s: float = 60) -> int:
    """Every recipient that was promised has come to what its name says; gives how many came twice."""
    load.stop()
    promised = set(load.acknowledged)

    def undone() -> set[str]:
        return {
            name
            for name in promised
            if (name.startswith(DELIVERED) and name not in hop.delivered)
            or (name.startswith(REFUSED) and name not in hop.reported)
        }

    end = [set[str]()]

    def is_done() -> bool:
        end[0] = undone()
        return not end[0]

    try:
        wait_until(is_done, "every promise is kept", limit_s)
    except AssertionError:
        visible = queued(relay)
        lost = sorted(end[0] - visible)
        raise AssertionError(
            f"of {len(promised)} promised, lost: {lost[:20]}; late but queued: {sorted(end[0] & visible)[:20]}"
        ) from None
    waiting = {name for name in promised if name.startswith(WAITING)}
    assert waiting <= queued(relay), "what was neither delivered nor refused is visible"
    assert not [name for name in hop.reported if not name.startswith(REFUSED)], "only what failed is reported"
    twice = sum(times - 1 for times in hop.delivered.values()) + sum(times - 1 for times in hop.reported.values())
    # At most what was in flight at a crash can come twice (RFC 1047).
    assert twice <= crashes * 60
    return twice
