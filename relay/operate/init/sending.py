"""A test message on its way, and what becomes of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.operate.asking import CannotAsk, Control, NotRunning, Refusal
from relay.operate.cli.speech import EX_SOFTWARE, EX_TEMPFAIL, Stop, until
from relay.operate.init.journey import Journey
from relay.operate.init.trying import CannotTry, at_work
from relay.operate.sendmail.flags import Wishes
from relay.operate.sendmail.handing import hand_over, this_user
from relay.operate.sendmail.knowing import known
from relay.receive.maildrop.leaving import CannotLeave

PATIENCE_S = 60.0

Row = Mapping[str, Any]

_ENDS = {
    "delivered": "The next host has taken it: look into the mailbox.",
    "gone": "It has left the queue: it has arrived, or comes back to the sender in a report.",
    "discarded": "A route has thrown it away, as it says.",
    "failed": "It was refused; a report goes back to the sender.",
    "refused": "It was refused when it was picked up; a report goes back to the sender.",
    "held": "It is held in the queue; relay queue list shows why.",
    "queued": "It waits in the queue and is tried again; relay queue list shows it.",
    "": "The relay has not picked it up yet; it does at its next start.",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A test message.

    state    as relay.operate.init.journey.Journey has it
    entries  its journey
    """

    message_id: str
    state: str
    entries: Sequence[Row]

    def row(self) -> dict[str, Any]:
        return {"message_id": self.message_id, "state": self.state, "journey": list(self.entries)}


def send_test(
    config: Path, spool: Path, hostname: str, sender: str, recipient: str, say: Callable[[str], object]
) -> Sent:
    """Sends a message as programs of this machine do, by the relay that runs or by one that runs for this alone; tells
    its journey.  Raises Stop."""
    message_id = f"<{secrets.token_hex(12)}@{hostname}>"
    text = _letter(message_id, hostname, recipient).encode()
    say(f"\nA test message to {recipient}:" if not runs(spool) else _BY_ANOTHER.format(recipient=recipient))
    try:
        with at_work(config, spool) as control:
            where = known(str(config), None)
            journey = Journey(control, message_id, recipient, lambda entry: say(line_of(entry)))
            name = hand_over(Wishes(recipients=(recipient,), sender=sender), where, this_user(), _reading(text))
            journey.follow(PATIENCE_S, (where.maildrop / name).exists)
    except CannotTry as why:
        raise Stop(f"the relay does not start with this configuration: {why}", EX_SOFTWARE) from None
    except (CannotLeave, CannotAsk, Refusal) as why:
        raise Stop(f"the test message could not be sent: {why}", EX_TEMPFAIL) from None
    say(_ENDS.get(journey.state, f"It is {journey.state}."))
    return Sent(message_id, journey.state, journey.entries)


_BY_ANOTHER = """
A relay runs on this spool already, by the configuration that it has read; systemctl reload relay, or kill -HUP, lets it
read the new one. A test message to {recipient} goes by it:"""


def runs(spool: Path) -> bool:
    try:
        Control(spool).close()
    except (NotRunning, CannotAsk):
        return False
    return True


def _letter(message_id: str, hostname: str, recipient: str) -> str:
    return (
        f"To: {recipient}\nSubject: A test of the relay on {hostname}\nMessage-ID: {message_id}\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\n\n"
        f"relay init on {hostname} has sent this, to see whether mail gets through. It has.\n"
    )


def _reading(text: bytes) -> Callable[[int], bytes]:
    """The text once, and then its end."""
    pieces = [text]
    return lambda octets: pieces.pop() if pieces else b""


def line_of(entry: Row) -> str:
    """An entry of a journey, in a line."""
    at = time.strftime("%H:%M:%S", time.localtime(entry["at"]))
    said = [str(entry[name]) for name in ("recipient", "hop", "reply", "error") if entry.get(name)]
    if entry.get("size"):
        said.append(f"{entry['size']:,} octets")
    if entry.get("tls"):
        said.append(f"by {entry['tls']}")
    if entry.get("next_at"):
        said.append(f"next try {until(entry['next_at'])}")
    return f"   {at}  {entry['step']:<10}{', '.join(said)}"
