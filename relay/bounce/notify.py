"""Telling the sender what became of a message: whether, whom, and of what.

The rules that must not be broken: no report is made of a report (RFC 5321 §6.1), and none that the sender did not
want (RFC 3461 §4.1).  A report has the null sender and NOTIFY=NEVER, so no server makes one of ours come back.

A report that cannot be delivered itself is the postmaster's business, by setting: held in the queue, sent to the
postmaster as a notice, or discarded.  A notice is never about a notice, and only so many are sent in an hour:
a storm of reports from forged senders must not become a storm in the postmaster's mailbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from relay.bounce.facts import Facts
from relay.bounce.original import HEADER_LIMIT_OCTETS, original_of
from relay.bounce.report import compose, notice_mark
from relay.message.address import Address
from relay.message.envelope import Composed, Message, Notify, Recipient, Ret
from relay.message.notify import is_undeliverable_report, wants
from relay.message.outcome import Action, Final
from relay.message.tail import Said

_HOUR_S = 3600.0

Finals = Sequence[tuple[Recipient, Final]]


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """How reports are made.

    hostname           our own name, in From and Reporting-MTA
    postmaster         who gets notices of undeliverable reports; None: such reports are held
    full_limit_octets  a failed message up to this size is given back whole, unless RET=HDRS; of a larger one its
                       header section (RFC 3461 §4.3, RFC 6522 §3)
    double_bounce      what becomes of a report that cannot be delivered
    notices_per_hour   notices to the postmaster beyond this are not written; the reports are held instead
    """

    hostname: str
    postmaster: Address | None = None
    full_limit_octets: int = 50 * 1024
    double_bounce: Literal["hold", "postmaster", "discard"] = "hold"
    notices_per_hour: int = 60


class Reporter:
    """Composes reports.  Pure but for the count of notices in the current hour."""

    def __init__(self, settings: ReportSettings) -> None:
        self._settings = settings
        self._hour = -1.0
        self._notices = 0

    def reconfigure(self, settings: ReportSettings) -> None:
        """Other settings hold from now on."""
        self._settings = settings

    def content_wanted(self, message: Message, finals: Finals) -> int:
        """How many octets of the content, from its beginning, ``compose`` and ``undeliverable`` make use of."""
        return max(HEADER_LIMIT_OCTETS, self._whole_limit(message, finals))

    def compose(
        self,
        message: Message,
        finals: Finals,
        content: bytes | None,
        now: float,
        retry_until: float | None = None,
        said: Sequence[Said] = (),
    ) -> Composed | None:
        """One report of all these outcomes, or None when the sender is to be told of none of them.

        finals       what became of recipients of this one message
        content      the message's content or its beginning (``content_wanted``); None: what the message carries
        now          seconds since the epoch
        retry_until  until when delayed recipients are tried, seconds since the epoch
        said         what was said when they were tried the last time
        """
        sender = message.envelope.reverse_path
        told = tuple(one for one in finals if wants(one[0], message.envelope, one[1].action))
        if sender is None or not told:
            return None
        return self._composed(sender, message, told, content, now, retry_until, said)

    def undeliverable(
        self, message: Message, finals: Finals, content: bytes | None, now: float, said: Sequence[Said] = ()
    ) -> Composed | Literal["hold", "discard"]:
        """What is to be done with a message from the null sender that failed for these recipients.

        Composed   a notice to the postmaster: it enters the queue, the recipients are finished
        "hold"     the recipients are held for an operator
        "discard"  the recipients are finished, and nobody is told but the log
        """
        failed = tuple(one for one in finals if is_undeliverable_report(message.envelope, one[1].action))
        postmaster = self._settings.postmaster
        if not failed or self._settings.double_bounce == "discard":
            return "discard"
        if self._settings.double_bounce == "hold" or postmaster is None:
            return "hold"
        if self._is_of_a_notice(message, failed, content, postmaster) or not self._may_notice(now):
            return "hold"
        return self._composed(postmaster, message, failed, content, now, None, said)

    def _composed(
        self,
        reader: Address,
        message: Message,
        told: tuple[tuple[Recipient, Final], ...],
        content: bytes | None,
        now: float,
        retry_until: float | None,
        said: Sequence[Said],
    ) -> Composed:
        original = original_of(message, content, self._whole_limit(message, told))
        facts = Facts(self._settings.hostname, str(reader), message, told, original, now, retry_until, tuple(said))
        return compose(facts, Recipient(reader, Notify.NEVER))

    def _whole_limit(self, message: Message, finals: Finals) -> int:
        """RFC 3461 §4.3, §6.2: the whole message is for failures only; RFC 6522 §3: it is what an unsaid RET gets."""
        failed = any(final.action is Action.FAILED for _, final in finals)
        # RFC 8689 §5: of a message that must be kept within TLS only the header section goes back.
        only_header = message.envelope.ret is Ret.HDRS or message.envelope.require_tls
        return self._settings.full_limit_octets if failed and not only_header else 0

    def _is_of_a_notice(self, message: Message, failed: Finals, content: bytes | None, postmaster: Address) -> bool:
        """Whether the postmaster cannot be reached, or this tells of a notice that another server sent back to us."""
        ours = {postmaster.key, "postmaster", f"postmaster@{self._settings.hostname}".lower()}
        if any(recipient.address.key in ours for recipient, _ in failed):
            return True
        return notice_mark(self._settings.hostname) in ((message.content if content is None else content) or b"")

    def _may_notice(self, now: float) -> bool:
        if now // _HOUR_S != self._hour:
            self._hour, self._notices = now // _HOUR_S, 0
        self._notices += 1
        return self._notices <= self._settings.notices_per_hour
