"""What is decided when a relay is set up, and the configuration that it makes: short, and with a word beside each line.

Pure.  The rule that must not be broken: what an operator typed stands in the file as one value, whatever it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import PurePath

Network = IPv4Network | IPv6Network

LOOPBACK = ("127.0.0.0/8", "::1/128")
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@+-]*(?::[A-Za-z0-9_./@+-]+)*|[0-9]+(?:\.[0-9]+){3}/[0-9]+")
_WORDS_OF_YAML = frozenset({"true", "false", "null", "none"})
_DOMAINS_AT_HOME = ("lan", "local", "localdomain", "home", "internal", "intranet", "test")
_COLUMN = 39


@dataclass(frozen=True, slots=True)
class SmartHost:
    """Where everything goes.

    is_smtps     TLS from the first octet (port 465)
    login        whom to log in as; None for no login
    password     the file with the password
    authorities  a file with the authorities that vouch for it; None: those this machine trusts
    """

    host: str
    port: int
    is_smtps: bool = False
    login: str | None = None
    password: PurePath | None = None
    authorities: PurePath | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"smtp{'s' * self.is_smtps}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Lan:
    """A network that may send, and how it is known: ``eth0``."""

    network: Network
    name: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is decided.

    smart_host  None: straight to the mail host of each domain
    lans        who may send, beside this machine
    postmaster  who reads the mail for postmaster and for the users of this machine, as an address
    user        whom root becomes; None: it works as whoever starts it
    maildrop    where programs of this machine leave mail; None: in the spool
    """

    hostname: str
    spool: PurePath
    listen: tuple[str, ...]
    smart_host: SmartHost | None = None
    lans: tuple[Lan, ...] = ()
    postmaster: str | None = None
    user: str | None = None
    maildrop: PurePath | None = None


def parse_smart_host(text: str) -> SmartHost:
    """``smtp.provider.example``, with a port or not: 587 is the port of submission, 465 has TLS from the first octet.

    Raises ValueError.
    """
    found = re.fullmatch(r"(?:(smtps?)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?/?", text.strip())
    if found is None or (found[3] and not 0 < int(found[3]) < 65536):
        raise ValueError(f'"{text}" is no host; write it like smtp.provider.example or smtp.provider.example:465')
    port = int(found[3]) if found[3] else 465 if found[1] == "smtps" else 587
    return SmartHost(found[2].strip("[]"), port, found[1] == "smtps" or (port == 465 and found[1] is None))


def doubts(plan: Plan) -> Iterator[str]:
    """What may be more open than was meant, or will not work as it stands."""
    for lan in plan.lans:
        network = lan.network
        if network.prefixlen == 0:
            yield f"{network} is everybody: this is an open relay, and will be used by spammers within hours"
        elif not network.is_private:
            yield (
                f"{network} is a network of the internet, not of your LAN: all {_size(network)} in it may send through "
                "this relay to anywhere"
            )
    if plan.lans and not any(_is_public(one) for one in plan.listen):
        yield "the LAN may send, but this relay listens on this machine only; see listen"
    if plan.smart_host is None:
        yield (
            "many providers let nobody out on port 25, and many mail hosts take nothing from an address without a name "
            "in the DNS; where that is so, a smart host is the way"
        )
    if plan.smart_host is not None and plan.smart_host.login is None and plan.smart_host.port in (465, 587):
        yield f"{plan.smart_host.host}: port {plan.smart_host.port} is for those who log in, and there is no login"
    if "." not in plan.hostname:
        yield f'"{plan.hostname}" has no dot, and many hosts refuse mail from such a name'
    if plan.postmaster is None:
        yield "nobody reads the mail for postmaster and root; say who: postmaster, forward"


def _is_public(endpoint: str) -> bool:
    return "interface=127." not in endpoint and "interface=::1" not in endpoint and not endpoint.startswith("unix:")


def _size(network: Network) -> str:
    return f"{network.num_addresses:,} addresses" if network.num_addresses < 1 << 20 else "its many addresses"


def configuration(plan: Plan, day: str) -> str:
    """The text of relay.yaml.

    day  when it is written, as 2026-11-26
    """
    return "\n".join(_lines(plan, day)) + "\n"


def _lines(plan: Plan, day: str) -> Iterator[str]:
    yield f"# relay, set up by relay init on {day}.  relay check FILE finds every fault in it; the documentation has"
    yield "# a page with all keys.  systemctl reload relay takes a changed file without dropping a session."
    yield ""
    yield _line(f"hostname: {scalar(plan.hostname)}", "what we call ourselves; should be a name that the DNS knows")
    yield _line(f"spool: {scalar(str(plan.spool))}", "the queue")
    if plan.user is not None:
        yield _line(f"user: {scalar(plan.user)}", "whom root becomes once the ports are open")
    yield ""
    yield "listen:"
    for endpoint in plan.listen:
        yield _line(f"  - endpoint: {scalar(endpoint)}", "where clients come in")
    yield ""
    yield "accept:"
    yield _line("  networks:", "these may send to anywhere, and nobody else to anywhere")
    for network in LOOPBACK:
        yield _line(f"    - {scalar(network)}", "this machine")
    for lan in plan.lans:
        yield _line(f"    - {scalar(str(lan.network))}", lan.name)
    yield ""
    yield from _people(plan)
    if plan.maildrop is not None:
        yield "sendmail:"
        yield _line(f"  maildrop: {scalar(str(plan.maildrop))}", "where cron, PHP and others leave mail; for all users")
        yield ""
    yield from _routes(plan.smart_host)


def _people(plan: Plan) -> Iterator[str]:
    if plan.postmaster is None:
        return
    reader = scalar(plan.postmaster)
    yield _line(f"postmaster: {reader}", "who reads the mail for postmaster")
    yield "forward:"
    yield _line(f"  root: {reader}", "... for root of this machine")
    if _is_a_machine(plan.hostname):
        yield _line(f"  {scalar('@' + plan.hostname)}: {reader}", "... and for all its other users")
    yield ""


def _is_a_machine(hostname: str) -> bool:
    """Whether it is no name behind which people have mailboxes elsewhere, as example.org is."""
    return hostname.count(".") != 1 or hostname.rpartition(".")[2] in _DOMAINS_AT_HOME


def _routes(host: SmartHost | None) -> Iterator[str]:
    if host is None:
        yield "# Mail goes straight to the mail host of each recipient's domain (by MX).  For a smart host:"
        yield "#"
        yield "# routes:"
        yield '#   - to: "*"'
        yield "#     via: smtp://smtp.provider.example:587"
        return
    yield "routes:"
    yield _line('  - to: "*"', "everything goes there")
    yield f"    via: {scalar(host.url)}"
    if host.login is not None:
        yield f"    user: {scalar(host.login)}"
        yield _line(f"    password_file: {scalar(str(host.password))}", "read at each login")
        yield _line("    tls: verify", "the password is for that host alone")
    elif host.authorities is not None:
        yield "    tls: verify"
    if host.authorities is not None:
        yield _line(f"    authorities: {scalar(str(host.authorities))}", "who vouches for it")


def _line(text: str, comment: str = "") -> str:
    return f"{text:<{_COLUMN}} # {comment}" if comment else text


def scalar(text: str) -> str:
    """A text as YAML reads it back: plain where nothing in it has a meaning, else in quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    return json.dumps(text, ensure_ascii=False)


def lans_of(networks: Sequence[Lan], chosen: Sequence[Network]) -> tuple[Lan, ...]:
    """The chosen networks, each with the name of the interface that is in it."""
    names = {lan.network: lan.name for lan in networks}
    return tuple(Lan(network, names.get(network, "")) for network in chosen)
