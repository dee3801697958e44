"""What must hold in every world, at all times.

A law is looked at where it can be broken: when an attempt begins, when a hop takes a message, when the relay tells a
step, and in an audit of the whole queue now and then and after every start.  What is looked at is the world's own
record and the database as another program reads it, not what the relay thinks of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from relay.message.envelope import Message, Recipient
from relay.message.outcome import Outcome
from relay.queue.ids import shard_of
from tests.simulate.climate import Climate
from tests.simulate.journal import Told, journal_agrees
from tests.simulate.lanes import Lanes, Name
from tests.simulate.ledger import Fate, Key, Ledger, key_of, letter_of, reported_in

if TYPE_CHECKING:
    from tests.simulate.hops import Host
    from tests.simulate.queue import Queue, Row

LEASE_S = 900.0
SLACK_S = 3600.0
"""How late an expiry or a warning may be: an attempt that hangs may be under way for so long."""
WRITTEN_WITHIN_S = 180.0
"""How long what was told may be known in memory only: a delay waits for its warning, and for the other recipients."""
FLUSHED_WITHIN_S = 60.0
"""How long a retry that nobody saw the end of may go on: it goes through the queue in steps, while mail goes on."""
PROMPT_S = 300.0
"""How soon mail for the kind domains is there, whatever hangs elsewhere."""
KIND, SHY, SMART = "kind.example", "shy.example", "smart.example"
_OUTCOMES = frozenset(("delivered", "deferred", "failed", "expired", "held", "discarded"))


class Laws:
    """Holds one world to them.

    violated    called with what was broken
    up_since    shard -> when it was opened; only those that are open
    retrying    orders under way that make mail due now
    """

    def __init__(self, ledger: Ledger, climate: Climate, seconds: Callable[[], float], violated: Callable[[str], None]):
        self.ledger = ledger
        self.climate = climate
        self.up_since: dict[int, float] = {}
        self.trouble_at = float("-inf")  # when our own disk last failed
        self.retrying = 0
        self.troubled: set[int] = set()  # the minutes in which it did
        self._seconds = seconds
        self._violated = violated
        self._lanes = Lanes(seconds, violated, 2 * climate.longest_s)
        self._told_at: dict[Key, float] = {}
        self._retried_until = 0.0

    # -- attempts -------------------------------------------------------------------------------

    def attempt_begins(self, message: Message, recipients: Sequence[Recipient], name: Name, window: int) -> None:
        self._lanes.attempt_begins(name, window)
        for recipient in recipients:
            self._is_offered(recipient, message, self._seconds())

    def _is_offered(self, recipient: Recipient, message: Message, now: float) -> None:
        key = key_of(str(recipient.address))
        if key is None:
            return
        fate = self.ledger.fate(key)
        name = f"m{key[0]}r{key[1]}"
        if now < fate.not_before - 0.001:
            self._violated(f"{name} was tried {fate.not_before - now:.3f} s before its time")
        if fate.is_open:
            self._violated(f"{name} is tried while it is being tried")
        if fate.is_held or fate.is_removed:
            self._violated(f"{name} is tried, and an operator has {'held' if fate.is_held else 'removed'} it")
        fate.begun += 1
        fate.is_open = True
        fate.accepted_at = message.accepted_at
        fate.shard = shard_of(message.id)

    def attempt_ended(self, name: Name, outcomes: Sequence[Outcome]) -> None:
        self._lanes.attempt_ended(name, outcomes)

    # -- what hops took -------------------------------------------------------------------------

    def took(self, host: Host, secured: str, sender: str, recipients: Sequence[str], content: bytes) -> None:
        now = self._seconds()
        for address in recipients:
            key = key_of(address)
            if host.lane == SMART:
                self._is_secured(address, secured)
            if key is not None:
                self._delivered(key, self.ledger.fate(key), host.name, now)
                self._check_content(key, content)
            elif sender == "":
                self._reported(f"{host.name} {now}", address, content, arrived=True)
            else:
                self._violated(f"{address} got mail that nobody sent, from {sender}")

    def _is_secured(self, address: str, secured: str) -> None:
        """A route's TLS is never less than it says, whatever fails."""
        wanted = self.climate.smart_tls
        if (wanted == "require" and not secured) or (wanted == "verify" and secured != "good"):
            how = f"within TLS, whose certificate is {secured}" if secured else "in the clear"
            self._violated(f"mail for {address} went out {how}, and its route says tls: {wanted}")

    def password_told(self, host: Host, secured: str) -> None:
        """A password is for who has proved to be the hop, and for nobody else."""
        if secured != "good":
            self._violated(f"{host.name} was told the password, and its certificate is {secured or 'not there'}")

    def _delivered(self, key: Key, fate: Fate, host: str, now: float) -> None:
        if fate.delivered and not fate.in_doubt:
            before = ", ".join(f"{where} at {at:.3f}" for at, where in fate.delivered)
            self._violated(f"m{key[0]}r{key[1]} was delivered again ({host}); before: {before}; no doubt was recorded")
        # What arrives when the relay is dead or has given it up, it never hears of: the doubt stays.
        fate.in_doubt = fate.in_doubt and not fate.is_open
        fate.delivered.append((now, host))
        self.ledger.delivered += 1
        if self.ledger.letters[key[0]].is_forbidden:
            self._violated(f"m{key[0]}r{key[1]} was relayed for somebody who may not send it")

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

    def told(self, shard: int, step: str, fields: dict[str, Any]) -> None:
        if step in ("rested", "woken"):
            self._lanes.told(shard, step, fields)
        elif step in _OUTCOMES and "recipient" in fields:
            key = key_of(fields["recipient"])
            if key is not None:
                self._outcome(step, key, self.ledger.fate(key), fields)

    def _outcome(self, step: str, key: Key, fate: Fate, fields: dict[str, Any]) -> None:
        now = self._seconds()
        name = f"m{key[0]}r{key[1]}"
        was_tried = fate.is_open
        fate.is_open = False
        self._told_at[key] = now
        if fields.get("in_doubt"):
            fate.in_doubt = True
        if step == "deferred":
            if not self.retrying and now >= self._retried_until:
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
            fate = self.ledger.fate(key)
            if fate.is_removed:
                self._violated(f"m{key[0]}r{key[1]} is in the queue again, and an operator has removed it")
            if fate.is_held and row.state != "held":
                self._violated(f"m{key[0]}r{key[1]} is {row.state}, and an operator has held it")

    def _has_a_state(self, key: Key, fate: Fate, queue: Queue) -> None:
        """The first promise: no recipient of an acknowledged message is in no state."""
        letter = self.ledger.letters[key[0]]
        if key in queue.rows:
            return
        gone = fate.refused or fate.given_up
        unwanted = "FAILURE" not in letter.notify.get(key[1], "FAILURE")
        if fate.delivered or fate.may_be_removed or (gone and (unwanted or "failed" in fate.heard)):
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
        since = max(
            self.up_since.get(shard_of(row.message_id), now), self.trouble_at, self.ledger.fate(key).released_at
        )
        if now < since + SLACK_S or row.state == "held":
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

    def nobody_is_delayed(self) -> None:
        """A hung peer delays nobody else: what goes to the kind domains is there soon."""
        now = self._seconds()
        for letter in self.ledger.letters.values():
            at = letter.acknowledged_at
            if at is None or now - at < PROMPT_S or at < self.up_since.get(shard_of(letter.message_id), now):
                continue
            for number in letter.taken:
                fate = self.ledger.fate((letter.number, number))
                waits = not (fate.delivered or fate.was_held or fate.may_be_removed)
                if waits and letter.recipients[number].endswith((KIND, SHY)):
                    self._violated(
                        f"m{letter.number}r{number} for {letter.recipients[number]} waits for {now - at:.0f} s"
                    )

    # -- the lives of the relay -----------------------------------------------------------------

    def shard_ended(self, shard: int) -> None:
        """By a crash or in order: what was under way is in doubt, and its leases must be respected."""
        now = self._seconds()
        self.up_since.pop(shard, None)
        self._lanes.shard_ended(shard)
        for key, fate in self.ledger.fates.items():
            if fate.shard != shard:
                continue
            if fate.is_open:
                # It was leased after it was due, and the lease was on disk before the attempt began.
                fate.not_before = max(fate.not_before, fate.accepted_at) + LEASE_S - 1
                fate.is_open = False
                fate.was_open = fate.in_doubt = True
            elif now - self._told_at.get(key, 0.0) < WRITTEN_WITHIN_S or now - self.trouble_at < 2 * SLACK_S:
                # Told and perhaps not on disk yet: then its lease of before holds.
                fate.in_doubt = True
                fate.not_before = min(fate.not_before, now)

    def shard_opens(self, shard: int) -> None:
        """What was under way is taken up again, but not at once; by an opening that fails in the end, too."""
        now = self._seconds()
        for fate in self.ledger.fates.values():
            if fate.shard == shard and fate.was_open:
                fate.not_before = min(fate.not_before, now + self.climate.first_s * max(fate.begun, 1))

    def shard_began(self, shard: int) -> None:
        self.up_since[shard] = self._seconds()
        for fate in self.ledger.fates.values():
            if fate.shard == shard:
                fate.was_open = False

    # -- what the operator does -----------------------------------------------------------------

    def rests_forgiven(self, shard: int, lane: str | None) -> None:
        """The rests of a shard's destinations, or of one, are over."""
        self._lanes.forgiven(shard, lane)

    def routes_are_new(self, shard: int) -> None:
        """The rests of a shard's destinations are over, but for those that the operator wishes."""
        self._lanes.begun_anew(shard)

    def retry_begins(self, keys: Iterable[Key]) -> None:
        """An order is under way that makes these due now."""
        self.retrying += 1
        for key in keys:
            self.ledger.fate(key).not_before = 0.0

    def retry_ended(self, is_known: bool) -> None:
        """is_known  the relay has said that it is done"""
        self.retrying -= 1
        if not is_known:
            self._retried_until = self._seconds() + FLUSHED_WITHIN_S
