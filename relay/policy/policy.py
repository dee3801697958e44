"""May this client, sender, recipient and content pass?  Facts in, verdict out.

Nothing here waits, reads a clock or a file: ``relay explain`` asks the same questions of the same code
and gets the same answers as a client on the wire.

The rules that must not be broken: a client that is not trusted gets mail to our own domains and nowhere
else, whatever form the address has; trouble of our own (a list that cannot be read) is 4yz.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from relay.message import reply, trace
from relay.message.address import Address, domain_key, parse_mailbox
from relay.message.envelope import Notify, Recipient
from relay.message.reply import Reply
from relay.policy.access import Domains, IPNetwork, Networks, client_address, unmapped
from relay.policy.client import Client
from relay.policy.content import ContentLimits, HeaderWatch
from relay.policy.directory import Directory, Entry
from relay.policy.forward import Forward, Forwarding, ForwardingFault, TooManyTargets
from relay.policy.inquiry import Inquiry
from relay.policy.recipients import RecipientList
from relay.policy.users import User
from relay.policy.verdict import Accepted, Refused, Verdict

LOOPBACK: tuple[IPNetwork, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))

CLIENTS_REMEMBERED = 4096

NOT_FOR_SUBMISSION = reply.reply(550, "5.7.1", "Submission is for the clients in accept.networks")  # no user can log in
ROUTED_LOCAL_PART = reply.reply(550, "5.7.1", "Relaying denied: this local part holds a route of its own")
SENDER_NOT_QUALIFIED = reply.reply(554, "5.1.8", "The sender's domain is not fully qualified")
RECIPIENT_NOT_QUALIFIED = reply.reply(554, "5.1.2", "The recipient's domain is not fully qualified")
LIST_UNAVAILABLE = reply.MAILBOX_BUSY.saying("Mailbox unavailable: the list of recipients cannot be read now")
FORWARD_TOO_LARGE = reply.LOCAL_ERROR.saying("This address stands for too many recipients")

# What a mail host behind us could read as "send it on to …" (RFC 5321 §3.6.1 and the UUCP and % customs).
_ROUTES = frozenset("%!@")


class Whom(enum.Enum):
    """To whom something is told."""

    NOBODY = "nobody"
    TRUSTED = "trusted"
    ANYBODY = "anybody"

    def includes(self, trusted: bool) -> bool:
        """Whether a client is meant that is trusted, or is not."""
        return self is Whom.ANYBODY or (self is Whom.TRUSTED and trusted)


class Service(enum.Enum):
    """What a listener is for.  LOCAL is none: it is for what programs of this machine leave in the maildrop."""

    RELAY = "relay"
    SUBMISSION = "submission"
    LMTP = "lmtp"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What the operator decided.

    hostname            our own name
    networks            their clients may relay anywhere
    domains             our own: ``example.org``, or ``.example.org`` for all below it
    local_domains       what addresses of this machine's users end in, beside hostname and localhost; strangers may
                        not write to these
    recipients_listed   there is a list of the addresses that exist; until it was read, none can be judged
    forward             by look-up form, see ``relay.policy.recipients.entry_key``
    postmaster          who reads the mail to postmaster, RFC 5321 §4.5.1; None leaves it with our first domain
    forward_limit       how many recipients one may become
    tell_forwarding     to whom the new path of a forwarded address is told (251)
    verify_for, expand_for, status_for, etrn_for  who may ask VRFY, EXPN, HELP STATUS, ETRN
    add_sender          tell in the header of a submission who logged in, where From does not
    place               where a key of the configuration stands: ``accept.networks`` -> ``relay.yaml:12``
    """

    hostname: str = "localhost"
    networks: tuple[IPNetwork, ...] = LOOPBACK
    domains: tuple[str, ...] = ()
    local_domains: tuple[str, ...] = ()
    recipients_listed: bool = False
    forward: Mapping[str, Forward] = field(default_factory=dict)
    directory: tuple[Entry, ...] = ()
    postmaster: Address | None = None
    forward_limit: int = 1000
    tell_forwarding: Whom = Whom.TRUSTED
    verify_for: Whom = Whom.TRUSTED
    expand_for: Whom = Whom.TRUSTED
    status_for: Whom = Whom.TRUSTED
    etrn_for: Whom = Whom.TRUSTED
    add_sender: bool = False
    content: ContentLimits = field(default_factory=ContentLimits)
    place: Callable[[str], str] = str


class Policy:
    """The operator's decisions, ready to be asked.

    ``recipients`` is the one thing that changes while it lives: the list as last read, or None when it was
    never read whole.
    """

    def __init__(self, settings: PolicySettings, recipients: RecipientList | None = None) -> None:
        self.settings = settings
        self.recipients = recipients
        self.place = settings.place
        self._content_passes = Accepted(reply.QUEUED, "content", self.place("accept"))
        self._known_clients: dict[str, Client] = {}
        self._places: dict[tuple[str, object], str] = {}
        self._networks = Networks(settings.networks)
        self._own = Domains(_domain_entry(domain) for domain in settings.domains)
        here = (*settings.domains, settings.hostname, "localhost", *settings.local_domains)
        self._forwarding = Forwarding(
            settings.forward, Domains(_domain_entry(domain) for domain in here), settings.forward_limit
        )
        self._postmaster_domains = frozenset({domain_key(settings.hostname)})
        self._inquiry = Inquiry(
            Directory(settings.directory),
            self._forwarding,
            self._own,
            lambda: self.recipients,
            self._postmaster_of_ours,
            self.place,
        )

    # -- who -------------------------------------------------------------------------------

    def client(self, ip: str) -> Client:
        """The client at this address; an empty one is a unix socket, which the file's mode guards."""
        known = self._known_clients.get(ip)
        if known is None:
            if len(self._known_clients) >= CLIENTS_REMEMBERED:
                self._known_clients.clear()
            known = self._known_clients[ip] = self._judge_client(ip)
        return known

    def _judge_client(self, ip: str) -> Client:
        if not ip:
            return Client("", True, "unix socket", self.place("listen"))
        address = client_address(ip)
        network = self._networks.containing(address) if address is not None else None
        told = str(address) if address is not None else ip
        if network is None:
            return Client(told, False, "not in accept.networks", self.place("accept.networks"))
        place = self._place_of("accept.networks", network, map(unmapped, self.settings.networks))
        return Client(told, True, f"accept.networks: {network}", place)

    def _place_of(self, key: str, entry: object, entries: Iterable[object]) -> str:
        """Where one entry of a list stands; of each it is looked for once."""
        place = self._places.get((key, entry))
        if place is None:
            number = next(number for number, one in enumerate(entries) if one == entry)
            place = self._places[key, entry] = self.place(f"{key}[{number}]")
        return place

    def logged_in(self, client: Client, user: User) -> Client:
        """This client, once it has proven to be this user."""
        place = user.place or self.place("accept.users")
        return replace(client, trusted=True, rule=f"logged in as {user.name}", place=place, user=user)

    def certified(self, client: Client, certificate: str) -> Client:
        """This client, once it has shown a certificate that is trusted; which, in words."""
        place = self.place("accept.certificates")
        return replace(client, trusted=True, rule=f"accept.certificates: {certificate}", place=place, certified=True)

    def is_own(self, domain: str) -> bool:
        """Whether mail to this domain (in look-up form) is taken from anybody."""
        return self._own.containing(domain) is not None

    # -- the envelope ----------------------------------------------------------------------

    def sender(self, client: Client, service: Service, reverse_path: Address | None) -> Verdict:
        """May a transaction with this reverse-path begin?"""
        if service is Service.SUBMISSION:
            if not client.trusted:
                return Refused(NOT_FOR_SUBMISSION, client.rule, client.place)
            if reverse_path is not None and not self._is_qualified(reverse_path):
                return Refused(SENDER_NOT_QUALIFIED, "submission: RFC 6409 §4.2", self.place("listen"))
        user = client.user
        if user is not None and reverse_path is not None and not user.may_send_as(reverse_path, self._own):
            may = "own domains" if user.senders is None else ", ".join(user.senders) or "none"
            return Refused(reply.SENDER_NOT_YOURS, f"senders of {user.name}: {may}", client.place)
        return Accepted(reply.SENDER_OK, client.rule, client.place)

    def believes(self, client: Client, submitter: str) -> bool:
        """Whether this client is believed about who submitted a message (RFC 4954 §5): one who is known by name, and of
        the users each about senders of their own.

        submitter  a mailbox, or ``<>``
        """
        user = client.user
        if user is None or submitter == "<>":
            return client.is_known_by_name
        return user.may_send_as(parse_mailbox(submitter), self._own)

    def recipient(
        self,
        client: Client,
        service: Service,
        address: Address,
        notify: Notify | None = None,
        orcpt: str | None = None,
        smtputf8: bool = True,
    ) -> Verdict:
        """May mail go to this address, and where does it go?

        ``<Postmaster>`` comes with an empty domain.  smtputf8: the transaction can carry addresses beyond ASCII.
        """
        own = self._own.containing(address.domain_key)
        if self._is_postmaster(address, own):
            return self._postmaster(address, notify, orcpt)
        if own is None and not client.trusted:
            return Refused(reply.RELAY_DENIED, client.rule, client.place)
        if self._forwarding:
            found = self._forwarding.find(address, self._exists)
            if found is not None:
                return self._forwarded(client, address, found, notify, orcpt, smtputf8)
        if own is not None:
            return self._in_own_domain(client, address, own, notify, orcpt)
        if service is Service.SUBMISSION and not self._is_qualified(address):
            return Refused(RECIPIENT_NOT_QUALIFIED, "submission: RFC 6409 §4.2", self.place("listen"))
        return Accepted(reply.RECIPIENT_OK, client.rule, client.place, (Recipient(address, notify, orcpt),))

    def _in_own_domain(
        self, client: Client, address: Address, own: str, notify: Notify | None, orcpt: str | None
    ) -> Verdict:
        rule = f"accept.domains: {own}"
        place = self._place_of("accept.domains", own, map(_domain_entry, self.settings.domains))
        if self.settings.recipients_listed:
            known = self.recipients
            if known is None:
                return Refused(LIST_UNAVAILABLE, "accept.recipients was not read yet", self.place("accept.recipients"))
            line = known.find(address)
            if line is None:
                return Refused(reply.NO_SUCH_USER, "not in accept.recipients", known.name)
            rule, place = "accept.recipients", f"{known.name}:{line}"
        elif not client.trusted and not _ROUTES.isdisjoint(address.local):
            return Refused(ROUTED_LOCAL_PART, rule, place)
        return Accepted(reply.RECIPIENT_OK, rule, place, (Recipient(address, notify, orcpt),))

    def _exists(self, address: Address) -> bool:
        return self.recipients is not None and self.recipients.find(address) is not None

    def _is_qualified(self, address: Address) -> bool:
        domain = address.domain
        return "." in domain or domain.startswith("[") or not domain or self.is_own(address.domain_key)

    # -- postmaster ------------------------------------------------------------------------

    def _is_postmaster(self, address: Address, own: str | None) -> bool:
        if len(address.local) != 10 or address.local.lower() != "postmaster":
            return False
        return not address.domain or own is not None or address.domain_key in self._postmaster_domains

    def _postmaster(self, address: Address, notify: Notify | None, orcpt: str | None) -> Verdict:
        """RFC 5321 §4.5.1: always accepted, whoever asks and whatever the lists say."""
        rule, place = "postmaster: RFC 5321 §4.5.1", self.place("postmaster")
        named = self._with_domain(address)
        target = self.settings.postmaster or named
        if self._forwarding.find(named, lambda _: True) is not None:
            target = named
        try:
            targets = self._forwarding.expand(target, lambda _: True)
        except ForwardingFault:  # a circle in forward: must not cut off the one who could mend it
            targets = (self.settings.postmaster or named,)
        recipients, expanded = _redirected(named, targets, notify, orcpt)
        return Accepted(reply.RECIPIENT_OK, rule, place, recipients, expanded)

    def _with_domain(self, postmaster: Address) -> Address:
        if postmaster.domain:
            return postmaster
        return Address(postmaster.local, self._own.exact[0] if self._own.exact else self.settings.hostname)

    def _postmaster_of_ours(self, address: Address) -> Address | None:
        is_ours = self._is_postmaster(address, self._own.containing(address.domain_key))
        return self._with_domain(address) if is_ours else None

    # -- forwarding ------------------------------------------------------------------------

    def _forwarded(
        self,
        client: Client,
        address: Address,
        found: tuple[str, Forward],
        notify: Notify | None,
        orcpt: str | None,
        smtputf8: bool,
    ) -> Verdict:
        key, entry = found
        rule, place = f"forward: {key}", entry.place
        if entry.refer is not None:
            told = f"<{entry.refer}>" if smtputf8 or entry.refer.is_ascii else "an address that needs SMTPUTF8"
            return Refused(reply.TRY_ELSEWHERE.saying(f"User not local; please try {told}"), rule, place)
        try:
            targets = self._forwarding.expand(address, self._exists)
        except TooManyTargets as fault:
            return Refused(FORWARD_TOO_LARGE, f"{rule}: {fault}", place)
        except ForwardingFault as fault:
            return Refused(reply.FORWARDING_LOOP, f"{rule}: {fault}", place)
        if not smtputf8 and not all(target.is_ascii for target in targets):
            return Refused(reply.NEEDS_SMTPUTF8, rule, place)
        recipients, expanded = _redirected(address, targets, notify, orcpt)
        return Accepted(self._forward_reply(client, address, entry, targets), rule, place, recipients, expanded)

    def _forward_reply(self, client: Client, address: Address, entry: Forward, targets: tuple[Address, ...]) -> Reply:
        if len(targets) > 1 or targets[0] == address:
            return reply.RECIPIENT_OK
        told = entry.tell if entry.tell is not None else self.settings.tell_forwarding.includes(client.trusted)
        return (
            reply.WILL_FORWARD.saying(f"User not local; will forward to <{targets[0]}>") if told else reply.RECIPIENT_OK
        )

    def forwarded(self, address: Address) -> tuple[Address, ...]:
        """Where mail of our own for this address goes on to; that address itself when it goes nowhere else."""
        if self._is_postmaster(address, self._own.containing(address.domain_key)):
            address = self.settings.postmaster or address
        try:
            return self._forwarding.expand(address, self._exists)
        except ForwardingFault:
            return (address,)

    # -- the content -----------------------------------------------------------------------

    def content(self, watch: HeaderWatch) -> Verdict:
        """May this content pass?  To be asked when all of it was fed to the watch."""
        limits = self.settings.content
        if watch.too_big:
            rule = f"header section over {limits.header_octets} octets"
            return Refused(reply.HEADER_TOO_BIG, rule, self.place("accept.header_size"))
        if trace.count_received(watch.header) > limits.hops:
            rule = f"more than {limits.hops} Received fields"
            return Refused(reply.TOO_MANY_HOPS, rule, self.place("accept.max_hops"))
        return self._content_passes

    # -- questions about addresses ---------------------------------------------------------

    def verify(self, client: Client, text: str, smtputf8: bool = True) -> Verdict:
        """VRFY: what is known of this user name, mailbox or full name (RFC 5321 §3.5).

        smtputf8: the client takes UTF-8 in the answer.
        """
        if not self.settings.verify_for.includes(client.trusted):
            return Accepted(reply.CANNOT_VERIFY, client.rule, client.place)
        return self._inquiry.verify(text, smtputf8)

    def expand(self, client: Client, text: str, smtputf8: bool = True) -> Verdict:
        """EXPN: who is behind this name (RFC 5321 §3.5).  smtputf8 as for ``verify``."""
        if not self.settings.expand_for.includes(client.trusted):
            return Refused(reply.NOT_IMPLEMENTED, client.rule, client.place)
        return self._inquiry.expand(text, smtputf8)


def _redirected(
    address: Address, targets: tuple[Address, ...], notify: Notify | None, orcpt: str | None
) -> tuple[tuple[Recipient, ...], Recipient | None]:
    """The recipients that one becomes, each with its ORCPT; and itself, when an "expanded" report is owed for it."""
    is_ours = orcpt is None
    if len(targets) == 1:  # RFC 3461 §5.2.7.2: everything goes along
        if targets[0] == address:
            return (Recipient(address, notify, orcpt),), None
        return (Recipient(targets[0], notify, orcpt or _original(address), is_ours),), None
    # RFC 3461 §5.2.7.3 c: all but SUCCESS goes along, and success is reported once, as "expanded".
    original = orcpt or _original(address)
    if notify is None or not notify & Notify.SUCCESS:
        return tuple(Recipient(target, notify, original, is_ours) for target in targets), None
    rest = notify & ~Notify.SUCCESS or Notify.NEVER
    recipients = tuple(Recipient(target, rest, original, is_ours) for target in targets)
    return recipients, Recipient(address, notify, orcpt)


def _original(address: Address) -> str:
    """The ORCPT that a changed address gets when the sender gave none (RFC 3461 §4.2, RFC 6533 §3)."""
    return f"rfc822;{address}" if address.is_ascii else f"utf-8;{address}"


def _domain_entry(text: str) -> str:
    return "." + domain_key(text[1:]) if text.startswith(".") else domain_key(text)
