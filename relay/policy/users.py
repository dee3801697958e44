"""The users who may log in, as a file has them that other software writes too, and which senders each may use.

The file has a line for each user, in the form of Dovecot's passwd-file or of Apache's htpasswd::

    ann@example.org:{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$…
    printer:$2y$10$…::::::senders=printer@example.org,.lan.example allow_nets=192.168.0.0/16

Fields are split by colons; the first two are the name and what is kept of the password, the eighth holds extra
fields, split by spaces.  Of these ``senders`` (ours), ``allow_nets`` and ``nologin`` (Dovecot's) count here;
others are its own business.

The rule that must not be broken: a line that is not understood gives nobody access, and a field that would narrow
access is never passed over.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from relay.message.address import Address, domain_key, is_domain, parse_mailbox
from relay.policy.access import Domains, IPNetwork, Networks, client_address

ANY_SENDER = "*"
NAME_LIMIT = 255

_EXTRA_FIELDS = 7  # user:password:uid:gid:(gecos):home:(shell):extra


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in.

    name     as written; two that differ only in case are one
    secret   what is kept of the password, ``{SCHEME}…`` or as crypt(3) writes it; empty when somebody else keeps it
    senders  addresses, domains, ``.domain`` (all below it) or ``*``; None for any sender in the user's own domains
    networks from where they may log in; None for anywhere
    may_log_in  False for an entry that is switched off
    place    ``users:12``
    """

    name: str
    secret: str = field(default="", repr=False)
    senders: tuple[str, ...] | None = None
    networks: tuple[IPNetwork, ...] | None = None
    may_log_in: bool = True
    place: str = ""

    @property
    def key(self) -> str:
        """The name in look-up form."""
        return user_key(self.name)

    def may_come_from(self, ip: str) -> bool:
        """Whether they may log in from this address; a unix socket is this machine."""
        if self.networks is None:
            return True
        address = client_address(ip or "127.0.0.1")
        return address is not None and Networks(self.networks).containing(address) is not None

    def may_send_as(self, sender: Address, own: Domains) -> bool:
        """Whether this may be their reverse-path.

        own  our own domains: those of a user whose name has none
        """
        if self.senders is None:
            _, at, domain = self.name.rpartition("@")
            if at:
                return sender.domain_key == domain_key(domain)
            return own.containing(sender.domain_key) is not None
        return any(_matches(pattern, sender) for pattern in self.senders)


def user_key(name: str) -> str:
    """The form in which names of users are compared; of SASLprep (RFC 4013) what makes two ways to write a name one."""
    return unicodedata.normalize("NFKC", name).casefold()


def parse_senders(text: str) -> tuple[str, ...]:
    """``ann@example.org,example.net,.example.com`` or ``*``.  Raises ValueError."""
    return tuple(_sender_pattern(word.strip()) for word in text.split(",") if word.strip())


def _sender_pattern(word: str) -> str:
    if word == ANY_SENDER:
        return word
    if "@" in word.removeprefix("@"):
        parse_mailbox(word)  # AddressFault is a ValueError
        return word
    bare = word.removeprefix("@").removeprefix(".")
    if not is_domain(bare):
        raise ValueError(f'"{word}" is no address, domain, .domain or *')
    return ("." if word.startswith(".") else "") + domain_key(bare)


def _matches(pattern: str, sender: Address) -> bool:
    if pattern == ANY_SENDER:
        return True
    if "@" in pattern:
        wanted = parse_mailbox(pattern)
        # The case of a local part may mean something to its owner (RFC 5321 §2.4), but is no defence.
        return wanted.local.casefold() == sender.local.casefold() and wanted.domain_key == sender.domain_key
    return Domains((pattern,)).containing(sender.domain_key) is not None


@dataclass(frozen=True, slots=True)
class UserFault:
    """One line that is wrong.  ``what`` says how, and never shows a secret."""

    line: int
    what: str


class UsersFault(ValueError):
    """The file cannot be used; ``faults`` is everything that is wrong with it."""

    def __init__(self, faults: tuple[UserFault, ...]) -> None:
        first = faults[0]
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        super().__init__(f"line {first.line}: {first.what}{more}")
        self.faults = faults


@dataclass(frozen=True, slots=True)
class UserList:
    """The users of a file.

    users  by look-up form
    name   the file's
    """

    users: Mapping[str, User]
    name: str = ""

    def find(self, name: str) -> User | None:
        return self.users.get(user_key(name))

    def __len__(self) -> int:
        return len(self.users)


def parse_users(text: str, name: str = "users") -> UserList:
    """The users of a file's text.  Raises UsersFault with all that is wrong."""
    users: dict[str, User] = {}
    faults: list[UserFault] = []
    for number, line in _lines(text):
        try:
            user = parse_user(line, f"{name}:{number}")
            if user.key in users:
                raise ValueError(f'the user "{user.name}" stands here twice, first at {users[user.key].place}')
            users[user.key] = user
        except ValueError as fault:
            faults.append(UserFault(number, str(fault)))
    if faults:
        raise UsersFault(tuple(faults))
    return UserList(users, name)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r \t")
        if line and not line.startswith("#"):
            yield number, line


def parse_user(line: str, place: str) -> User:
    """The user of one line.  Raises ValueError whose text shows no secret."""
    fields = line.split(":", _EXTRA_FIELDS)
    name = fields[0]
    fault = fault_of_name(name)
    if fault:
        raise ValueError(f"a line begins with the name of a user, and a colon; {fault}")
    if len(fields) < 2 or not fields[1]:
        raise ValueError(f'the user "{name}" has no password; relay user passwd sets one')
    extra = dict(_extra(fields[_EXTRA_FIELDS])) if len(fields) > _EXTRA_FIELDS else {}
    if "nopassword" in extra:
        raise ValueError(f'the user "{name}" has nopassword, which would let anybody in')
    try:
        senders, networks = extra_of(extra)
    except ValueError as fault:
        raise ValueError(f'the user "{name}": {fault}') from None
    return User(name, fields[1], senders, networks, "nologin" not in extra, place)


def fault_of_name(name: str) -> str:
    """What is wrong with the name of a user; empty when nothing is."""
    if not name:
        return "the name is empty"
    if len(name) > NAME_LIMIT:
        return f"the name is longer than {NAME_LIMIT} characters"
    if name != name.strip():
        return "the name begins or ends with a space"
    if any("\ud800" <= one <= "\udfff" for one in name):  # what was no UTF-8 on the command line
        return "the name is not UTF-8"
    if not name.isprintable():
        return "the name holds a character that cannot be printed"
    return ""


def extra_of(fields: Mapping[str, str]) -> tuple[tuple[str, ...] | None, tuple[IPNetwork, ...] | None]:
    """What ``senders`` and ``allow_nets`` say, of the extra fields.  Raises ValueError."""
    senders = parse_senders(fields["senders"]) if "senders" in fields else None
    networks = _networks(fields["allow_nets"]) if "allow_nets" in fields else None
    return senders, networks


def _extra(text: str) -> Iterator[tuple[str, str]]:
    for word in text.split():
        key, _, value = word.partition("=")
        yield key.removeprefix("userdb_"), value


def _networks(text: str) -> tuple[IPNetwork, ...]:
    """Dovecot's allow_nets: addresses and networks; ``local`` is a unix socket, and so this machine."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    return tuple(ipaddress.ip_network("127.0.0.1" if word == "local" else word, strict=False) for word in words)
