"""VRFY and EXPN: what we know of a name (RFC 5321 §3.5).

The rule that must not be broken: 250 is said only of what was really looked up (RFC 5321 §3.5.3), and no mailbox is
told but as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from relay.message import reply
from relay.message.address import Address, AddressFault, parse_mailbox
from relay.message.reply import Reply
from relay.policy.access import Domains
from relay.policy.directory import Directory, Entry
from relay.policy.forward import Forward, Forwarding, ForwardingFault
from relay.policy.recipients import RecipientList
from relay.policy.verdict import Accepted, Refused, Verdict

VERIFIED = reply.reply(250, "2.1.5", "OK")
EXPANDED = reply.reply(250, "2.1.5", "OK")
CANNOT_VERIFY_LIST = reply.CANNOT_VERIFY.saying("Unable to verify members of mailing list")
NO_SUCH_LIST = reply.NO_SUCH_USER.saying("No such mailing list here")
A_USER_NOT_A_LIST = reply.NO_SUCH_USER.saying("That is a user name, not a mailing list")
# X.6.8 of RFC 6531 §4.3: the codes for VRFY are those that §3.7.4.2 allows, in the sense of what stands behind them.
_ASK_IN_UTF8 = "The mailbox is told in UTF-8 only: ask with the SMTPUTF8 parameter"
MAILBOX_IN_UTF8 = reply.reply(252, "2.6.8", _ASK_IN_UTF8)
REFUSAL_IN_UTF8 = reply.reply(553, "5.6.8", _ASK_IN_UTF8)
LIST_IN_UTF8 = reply.reply(550, "5.6.8", _ASK_IN_UTF8)
POSSIBILITIES_SHOWN = 20


class Inquiry:
    """Answers what VRFY and EXPN ask."""

    def __init__(
        self,
        directory: Directory,
        forwarding: Forwarding,
        own: Domains,
        known: Callable[[], RecipientList | None],
        postmaster: Callable[[Address], Address | None],
        place: Callable[[str], str],
    ) -> None:
        """known       gives the list of recipients as last read
        postmaster  the postmaster of ours that an address means, with the domain; None when it means somebody else
        place       tells where a key of the configuration stands
        """
        self._known = known
        self._postmaster = postmaster
        self._place = place
        self._directory = directory
        self._forwarding = forwarding
        self._own = own

    def verify(self, text: str, smtputf8: bool = True) -> Verdict:
        """250, 251 or 252; 550, 551 or 553.  smtputf8: the client takes UTF-8 in the answer."""
        verdict = self._verify(text)
        if smtputf8:
            return verdict
        return _in_ascii(verdict, MAILBOX_IN_UTF8 if verdict.reply.is_positive else REFUSAL_IN_UTF8)

    def _verify(self, text: str) -> Verdict:
        name = _bare(text)
        entries = self._directory.find(name)
        if len(entries) == 1:
            return self._verify_mailbox(entries[0].mailbox, entries[0])
        if name.lower() == "postmaster":
            return self._verify_mailbox(Address(name, ""), None)
        if entries:
            return _ambiguous([str(entry) for entry in entries], entries[0].place)
        address = _as_address(name)
        if address is not None:
            return self._verify_mailbox(address, None)
        return self._verify_user_name(name)

    def _verify_mailbox(self, address: Address, entry: Entry | None) -> Verdict:
        postmaster = self._postmaster(address)
        if postmaster is not None:
            return self._verify_postmaster(postmaster, entry)
        found = self._forwarding.find(address, self._exists)
        if found is not None:
            return self._verify_forwarded(address, entry, *found)
        if entry is not None:
            return Accepted(VERIFIED.saying(str(entry)), f"directory: {entry.user}", entry.place)
        own = self._own.containing(address.domain_key)
        if own is None:
            return Accepted(reply.CANNOT_VERIFY, "not ours, but relayed", self._place("accept.domains"))
        known = self._known()
        if known is None:
            return Accepted(reply.CANNOT_VERIFY, f"accept.domains: {own}", self._place("accept.domains"))
        line = known.find(address)
        if line is None:
            return Refused(reply.NO_SUCH_USER, "not in accept.recipients", known.name)
        listed = Address(address.local.lower(), address.domain_key)  # what was looked up, not what was asked
        return Accepted(VERIFIED.saying(f"<{listed}>"), "accept.recipients", f"{known.name}:{line}")

    def _verify_postmaster(self, address: Address, entry: Entry | None) -> Verdict:
        """Never denied, whatever the lists say: RCPT takes it (RFC 5321 §4.5.1)."""
        found = self._forwarding.find(address, lambda _: True)
        if found is not None:
            verdict = self._verify_forwarded(address, entry, *found)
            if isinstance(verdict, Accepted):
                return verdict
        elif entry is not None:
            return Accepted(VERIFIED.saying(str(entry)), f"directory: {entry.user}", entry.place)
        return Accepted(reply.CANNOT_VERIFY, "postmaster: RFC 5321 §4.5.1", self._place("postmaster"))

    def _verify_forwarded(self, address: Address, entry: Entry | None, key: str, forward: Forward) -> Verdict:
        rule, place = f"forward: {key}", forward.place
        if forward.refer is not None:
            return Refused(reply.TRY_ELSEWHERE.saying(f"User not local; please try <{forward.refer}>"), rule, place)
        try:
            targets = self._forwarding.expand(address, self._exists)
        except ForwardingFault as fault:
            return Refused(reply.FORWARDING_LOOP, f"{rule}: {fault}", place)
        if len(targets) > 1:
            return Accepted(CANNOT_VERIFY_LIST, rule, place)
        if targets[0].key == address.key:
            return Accepted(VERIFIED.saying(str(entry) if entry else f"<{address}>"), rule, place)
        told = f"User not local; will forward to <{targets[0]}>"
        return Accepted(reply.WILL_FORWARD.saying(told), rule, place)

    def _verify_user_name(self, name: str) -> Verdict:
        """A bare word that the directory does not know: perhaps a local part in one of our domains."""
        domains = self._own.exact
        forwarded = [
            address
            for address in (Address(name, domain) for domain in domains)
            if (found := self._forwarding.find(address, lambda _: True)) is not None
            and found[0] != "@" + address.domain
        ]
        known = self._known()
        listed = known.mailboxes(name, domains) if known is not None else ()
        candidates = {address.key: address for address in (*forwarded, *listed)}
        if len(candidates) == 1:
            return self._verify_mailbox(next(iter(candidates.values())), None)
        if candidates:
            return _ambiguous([f"<{address}>" for address in candidates.values()], self._place("accept.recipients"))
        if known is not None or self._directory:
            return Refused(reply.NO_SUCH_USER, "not in the directory", self._place("directory"))
        return Accepted(reply.CANNOT_VERIFY, "no directory", self._place("directory"))

    def expand(self, text: str, smtputf8: bool = True) -> Verdict:
        """250 with one mailbox a line, 550, or 551 for somebody who moved.  smtputf8 as for ``verify``."""
        verdict = self._expand(text)
        return verdict if smtputf8 else _in_ascii(verdict, LIST_IN_UTF8)

    def _expand(self, text: str) -> Verdict:
        name = _bare(text)
        for address in self._list_addresses(name):
            found = self._forwarding.find(address, lambda _: True)
            if found is None:
                continue
            key, forward = found
            rule, place = f"forward: {key}", forward.place
            if forward.refer is not None:
                return Refused(reply.TRY_ELSEWHERE.saying(f"User not local; please try <{forward.refer}>"), rule, place)
            try:
                targets = self._forwarding.expand(address, self._exists)
            except ForwardingFault as fault:
                return Refused(reply.FORWARDING_LOOP, f"{rule}: {fault}", place)
            return Accepted(EXPANDED.saying(*map(self._line, targets)), rule, place)
        known_user = len(self._directory.find(name)) > 0
        told = A_USER_NOT_A_LIST if known_user else NO_SUCH_LIST
        return Refused(told, "not in forward", self._place("forward"))

    def _list_addresses(self, name: str) -> tuple[Address, ...]:
        address = _as_address(name)
        return (address,) if address is not None else tuple(Address(name, domain) for domain in self._own.exact)

    def _line(self, address: Address) -> str:
        entry = self._directory.of_mailbox(address)
        return str(entry) if entry is not None else f"<{address}>"

    def _exists(self, address: Address) -> bool:
        known = self._known()
        return known is not None and known.find(address) is not None


def _ambiguous(candidates: list[str], place: str) -> Refused:
    # RFC 5321 §3.5.1 gives these words for clients to recognize.
    told: Reply = reply.AMBIGUOUS.saying("Ambiguous; Possibilities are", *candidates[:POSSIBILITIES_SHOWN])
    return Refused(told, "directory", place)


def _in_ascii(verdict: Verdict, otherwise: Reply) -> Verdict:
    """The same for a client that takes no UTF-8 (RFC 6531 §3.7.4.2): a full name beyond ASCII is left out; where a
    mailbox is, ``otherwise`` is said.  With a ``?`` in it, it would be a mailbox too, and somebody else's."""
    lines = []
    for line in verdict.reply.lines:
        name, bracket, mailbox = line.partition("<")  # which no full name holds
        if not mailbox.isascii():
            return (Accepted if otherwise.is_positive else Refused)(otherwise, verdict.rule, verdict.place)
        lines.append(line if name.isascii() else bracket + mailbox)
    return replace(verdict, reply=verdict.reply.saying(*lines))


def _bare(text: str) -> str:
    """The name within quotes or angle brackets."""
    name = text.strip()
    if len(name) > 1 and name[0] + name[-1] in ("<>", '""'):
        name = name[1:-1]
    return name.strip()


def _as_address(name: str) -> Address | None:
    try:
        return parse_mailbox(name)
    except AddressFault:
        return None
