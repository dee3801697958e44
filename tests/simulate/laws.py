"""What must hold in every world, at all times.

A law is looked at where it can be broken: when an attempt begins, when a hop takes a message, when the relay tells a
step, and in an audit of the whole queue now and then and after every start.  What is looked at is the world's own
record and the database as another program reads it, not what the relay thinks of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.message.envelope import Message, Recipient
from relay.message.outcome import Deferred, Delivered, Failed, Outcome
from tests.simulate.climate import Climate
from tests.simulate.journal import Told, journal_agrees
from tests.simulate.ledger import Fate, Key, Ledger, key_of, letter_of, reported_in

if TYPE_CHECKING:
    from tests.simulate.queue import Queue, Row

LEASE_S = 900.0
SLACK_S = 3600.0
"""How late an expiry or a warning may be: an attempt that hangs may be under way for so long."""
WRITTEN_WITHIN_S = 180.0
"""How long what was told may be known in memory only: a delay waits for its warning, and for the other recipients."""
FLUSHED_WITHIN_S = 60.0
"""How long a flush takes: it goes through the queue in steps, while mail goes on."""
PROMPT_S = 300.0
"""How soon mail for the kind domain is there, whatever hangs elsewhere."""
KIND = "kind.example"
_OUTCOMES = frozenset(("delivered", "deferred", "failed", "expired", "held", "discarded"))


@dataclass(slots=True)
class Lane:
    """What is known of one destination in this life of the relay."""

    in_flight: int = 0
    resting_until: float = 0.0
    on_probation: bool = False
    probes: int = 0
    used_at: float = 0.0


class Laws:
    """Holds one world to them.

    violated  called with what was broken
    """

    def __init__(self, ledger: Ledger, climate: Climate, seconds: Callable[[], float], violated: Callable[[str], None]):
        self.ledger = ledger
        self.climate = climate
        self.up_since = 0.0
        self.trouble_at = float("-inf")  # when our own disk last failed
        self.troubled: set[int] = set()  # the minutes in which it did
        self._seconds = seconds
        self._violated = violated
        self._lanes: dict[str, Lane] = {}
        self._told_at: dict[Key, float] = {}
        self._forgiven_until = 0.0

    # -- attempts -------------------------------------------------------------------------------

    def attempt_begins(self, message: Message, recipients: Sequence[Recipient], name: str) -> None:
        now = self._seconds()
        lane = self._lanes.setdefault(name, Lane())
        lane.in_flight += 1
        if now > lane.used_at + 2 * self.climate.longest_s:
            lane.on_probation = False  # what was not used for so long is forgotten, its troubles too
        lane.used_at = now
        if now < lane.resting_until - 0.001:
            self._violated(f"{name} was tried while it rests until {lane.resting_until:.3f}")
        if lane.in_flight > self.climate.per_domain:
            self._violated(f"{lane.in_flight} attempts at once to {name}, whose window is {self.climate.per_domain}")
        if lane.on_probation:
            lane.probes += 1
            if lane.probes > 1:
                self._violated(f"{name} is being probed, and gets more than one attempt")
        for recipient in recipients:
            self._is_offered(recipient, message.accepted_at, now)

    def _is_offered(self, recipient: Recipient, accepted_at: float, now: float) -> None:
        key = key_of(str(recipient.address))
        if key is None:
            return
        fate = self.ledger.fate(key)
        if now < fate.not_before - 0.001:
            self._violated(f"m{key[0]}r{key[1]} was tried {fate.not_before - now:.3f} s before its time")
        if fate.is_open:
            self._violated(f"m{key[0]}r{key[1]} is tried while it is being tried")
        fate.begun += 1
        fate.is_open = True
        fate.accepted_at = accepted_at

    def attempt_ended(self, name: str, outcomes: Sequence[Outcome]) -> None:
        lane = self._lanes.setdefault(name, Lane())
        lane.in_flight -= 1
        lane.used_at = self._seconds()
        lane.probes = max(0, lane.probes - 1)
        if any(map(_is_answer, outcomes)):  # the host is there after all: its rest or probation is over
            lane.resting_until = 0.0
            lane.on_probation = False

    # -- what hops took -------------------------------------------------------------------------

    def took(self, host: str, sender: str, recipients: Sequence[str], content: bytes) -> None:
        now = self._seconds()
        for address in recipients:
            key = key_of(address)
            if key is not None:
                self._delivered(key, self.ledger.fate(key), host, now)
                self._check_content(key, content)
            elif sender == "":
                self._reported(f"{host} {now}", address, content, arrived=True)
            else:
                self._violated(f"{address} got mail that nobody sent, from {sender}")

    def _delivered(self, key: Key, fate: Fate, host: str, now: float) -> None:
        if fate.delivered and not fate.in_doubt:
            before = ", ".join(f"{where} at {at:.3f}" for at, where in fate.delivered)
            self._violated(f"m{key[0]}r{key[1]} was delivered again ({host}); before: {before}; no doubt was recorded")
        # What arrives when the relay is dead or has given it up, it never hears of: the doubt stays.
        fate.in_doubt = fate.in_doubt and not fate.is_open
        fate.delivered.append((now, host))
        self.ledger.delivered += 1

    def _check_content(self, key: Key, content: bytes) -> None:
        letter = self.ledger.letters[key[0]]
        if letter.is_plain:
            head, whole = content[: -len(letter.content)], content.endswith(letter.content)
            if not whole or not head.startswith(b"Received: ") or head.count(b"\r\nReceived: "):
                self._violated(f"m{key[0]} did not arrive as it was sent")
        elif b"X-Letter: %d\r\n" % letter.number not in content:
            self._violated(f"m{key[0]} arrived without its header")

    def _reported(self, report: str, reader: str, content: bytes, arrived: bool) -> None:
        """A report is in the queue, or has arrived."""
        number = letter_of(reader)
        told = reported_in(content)
        if number is None or not told:
            self._violated(f"a report went to {reader}, telling of {told}")
        for key, action in told:
            letter = self.ledger.letters.get(key[0])
            if letter is None or key[0] != number or letter.sender is None:
                self._violated(f"{reader} was told of m{key[0]}r{key[1]}, whose sender it is not")
                continue
            fate = self.ledger.fate(key)
            if arrived:
                fate.heard.add(action)
            else:
                self._is_reported(key, fate, action, report)

    def _is_reported(self, key: Key, fate: Fate, action: str, report: str) -> None:
        reports = fate.reports.setdefault(action, set())
        reports.add(report)
        wish = self.ledger.letters[key[0]].notify.get(key[1], "FAILURE,DELAY")
        wanted = {"failed": "FAILURE", "delayed": "DELAY"}.get(action, "SUCCESS")
        if wanted not in wish:
            self._violated(f"m{key[0]}r{key[1]} was reported as {action}, and its sender said NOTIFY={wish}")
        if action == "failed" and not (fate.refused or fate.given_up):
            self._violated(f"m{key[0]}r{key[1]} was reported as failed, and nobody had refused it")
        if len(reports) > 1 and self.trouble_at == float("-inf"):
            self._violated(f"m{key[0]}r{key[1]} was reported as {action} {len(reports)} times: {sorted(reports)}")

    # -- what the relay tells -------------------------------------------------------------------

    def told(self, step: str, fields: dict[str, Any]) -> None:
        if step in _OUTCOMES:
            key = key_of(fields["recipient"])
            if key is not None:
                self._outcome(step, key, self.ledger.fate(key), fields)
        elif step == "rested":
            lane = self._lanes.setdefault(fields["destination"], Lane())
            lane.resting_until = fields["next_at"]
            lane.on_probation = True
            lane.probes = 0
        elif step == "woken":
            lane = self._lanes.setdefault(fields["destination"], Lane())
            lane.used_at = self._seconds()
            if self._seconds() < lane.resting_until - 0.001:
                self._violated(f"the rest of {fields['destination']} ended before its time")

    def _outcome(self, step: str, key: Key, fate: Fate, fields: dict[str, Any]) -> None:
        now = self._seconds()
        name = f"m{key[0]}r{key[1]}"
        was_tried = fate.is_open
        fate.is_open = False
        self._told_at[key] = now
        if fields.get("in_doubt"):
            fate.in_doubt = True
        if step == "deferred":
            if now >= self._forgiven_until:
                fate.not_before = max(fate.not_before, fields["next_at"])
            if fields["attempts"] < fate.begun:
                self._violated(f"{name} was tried {fate.begun} times, and the relay counts {fields['attempts']}")
            if was_tried and fields["next_at"] < now + self.climate.first_s * 0.79:
                self._violated(f"{name} is tried again after {fields['next_at'] - now:.3f} s")
        elif step == "delivered" and not fate.delivered:
            self._violated(f"{name} is told to be delivered, and nobody took it")
        elif step == "failed":
            if not fate.refused and "gone.example" not in fields["destination"]:
                self._violated(f"{name} is told to have failed, and nobody had refused it: {fields['reply']}")
            fate.refused = True
        elif step == "expired":
            fate.given_up = True
            if fields["delay_s"] < self.climate.give_up_s - 1:
                self._violated(f"{name} expired after {fields['delay_s']:.0f} s, before its time")

    # -- the whole queue ------------------------------------------------------------------------

    def audit(self, queue: Queue) -> None:
        """Holds the queue, as it is on disk now, against what was promised."""
        rows = queue.rows
        for message_id, reader, content in queue.reports:
            self._reported(message_id, reader, content, arrived=False)
        now = self._seconds()
        for letter in self.ledger.letters.values():
            if letter.acknowledged_at is None:
                continue
            for number in letter.taken:
                fate = self.ledger.fate((letter.number, number))
                if not fate.settled:
                    self._has_a_state((letter.number, number), fate, queue)
        for key, row in rows.items():
            self._is_in_time(key, row, now)

    def _has_a_state(self, key: Key, fate: Fate, queue: Queue) -> None:
        """The first promise: no recipient of an acknowledged message is in no state."""
        letter = self.ledger.letters[key[0]]
        if key in queue.rows:
            return
        gone = fate.refused or fate.given_up
        unwanted = "FAILURE" not in letter.notify.get(key[1], "FAILURE")
        if fate.delivered or (gone and (unwanted or "failed" in fate.heard)):
            fate.settled = True
            return
        if gone and fate.reports.get("failed", set()) & queue.report_ids:
            return
        self._violated(
            f"m{key[0]}r{key[1]} is nowhere: acknowledged as {letter.message_id} at {letter.acknowledged_at:.3f}, "
            f"not delivered, not reported ({'refused' if gone else 'never refused'}), not in the queue"
        )

    def _is_in_time(self, key: Key, row: Row, now: float) -> None:
        """Expiry, warning and reports come at their time, in every state but held."""
        if now < max(self.up_since, self.trouble_at) + SLACK_S or row.state == "held":
            return
        age_s = now - row.accepted_at
        name = f"m{key[0]}r{key[1]}"
        if row.state == "owing" and now > row.due_at + SLACK_S:
            self._violated(f"the report of {name} is owed since {now - row.due_at:.0f} s")
        elif row.state == "waiting" and age_s > self.climate.give_up_s + SLACK_S:
            self._violated(f"{name} waits since {age_s:.0f} s and has not expired")
        elif self.climate.warn_s and not row.warned and age_s > self.climate.warn_s + SLACK_S:
            self._violated(f"{name} waits since {age_s:.0f} s and nobody was warned")

    def journal_agrees(self, told: Told, queue: Queue) -> None:
        """What is journaled is what really happened."""
        journal_agrees(told, self.ledger, self._told_at, self.troubled, queue.rows, self._violated)

    def nobody_is_delayed(self, was_undisturbed_since: float) -> None:
        """A hung peer delays nobody else: what goes to the kind domain is there soon."""
        now = self._seconds()
        for letter in self.ledger.letters.values():
            at = letter.acknowledged_at
            if at is None or at < was_undisturbed_since or now - at < PROMPT_S:
                continue
            for number in letter.taken:
                if letter.recipients[number].endswith(KIND) and not self.ledger.fate((letter.number, number)).delivered:
                    self._violated(f"m{letter.number}r{number} for the kind domain waits since {now - at:.0f} s")

    # -- the lives of the relay -----------------------------------------------------------------

    def life_ended(self) -> None:
        """By a crash or in order: what was under way is in doubt, and its leases must be respected."""
        now = self._seconds()
        self._lanes.clear()
        for key, fate in self.ledger.fates.items():
            if fate.is_open:
                # It was leased after it was due, and the lease was on disk before the attempt began.
                fate.not_before = max(fate.not_before, fate.accepted_at) + LEASE_S - 1
                fate.is_open = False
                fate.was_open = fate.in_doubt = True
            elif now - self._told_at.get(key, 0.0) < WRITTEN_WITHIN_S or now - self.trouble_at < 2 * SLACK_S:
                # Told and perhaps not on disk yet: then its lease of before holds.
                fate.in_doubt = True
                fate.not_before = min(fate.not_before, now)

    def life_began(self) -> None:
        """What was under way is taken up again, but not at once."""
        now = self._seconds()
        self.up_since = now
        for fate in self.ledger.fates.values():
            if fate.was_open:
                fate.was_open = False
                fate.not_before = min(fate.not_before, now + self.climate.first_s * max(fate.begun, 1))

    def forgiven(self, only_rests: bool) -> None:
        """The operator wants everything tried now, or (a reload) the rests are over."""
        for lane in self._lanes.values():
            lane.resting_until = 0.0
            lane.on_probation = False
        if not only_rests:
            self._forgiven_until = self._seconds() + FLUSHED_WITHIN_S
            for fate in self.ledger.fates.values():
                fate.not_before = 0.0


def _is_answer(outcome: Outcome) -> bool:
    """Whether the destination has spoken, if only to refuse."""
    if isinstance(outcome, Deferred):
        return bool(outcome.hop) and not outcome.whole_destination
    return isinstance(outcome, Delivered | Failed)
