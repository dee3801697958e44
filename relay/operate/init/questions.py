"""The four questions of ``relay init``, each with an answer that is right for most.

What is asked and how; what becomes of it is decided elsewhere.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import TypeVar

import click

from relay.message.address import Address, AddressFault, is_domain, parse_mailbox
from relay.operate.init.plan import Lan, Network, SmartHost, parse_smart_host

T = TypeVar("T")

NOBODY = "none"


def ask(question: str, parse: Callable[[str], T], default: str = "") -> T:
    """Asks until the answer is one.  ``parse`` raises ValueError with what would be right."""
    while True:
        said = click.prompt(question, default=default, show_default=bool(default), type=str).strip()
        try:
            return parse(said)
        except ValueError as fault:
            click.echo(f"   {fault}")


def smart_host() -> SmartHost | None:
    click.echo("1. How does mail leave here?")
    click.echo(
        "   By a smart host, which takes all of it (your provider, or your organisation's mail server); or straight"
    )
    click.echo("   to the mail host of each recipient's domain.")
    return ask(
        "   Smart host, as HOST or HOST:PORT; empty for none", lambda text: parse_smart_host(text) if text else None
    )


def login(host: SmartHost) -> tuple[str, str] | None:
    """A name and a password for the smart host, or None."""
    click.echo(f"2. Does {host.host} want a login?")
    name = ask("   Log in as; empty for no login", str)
    return (name, password(name)) if name else None


def password(name: str) -> str:
    return str(click.prompt(f"   Password of {name} (it is not shown)", hide_input=True, type=str))


def networks(found: Sequence[Lan]) -> tuple[Network, ...]:
    click.echo("3. Who may send to anywhere through this relay, beside this machine?")
    for lan in found:
        click.echo(
            f"   {lan.network!s:<24} {lan.name}{'' if lan.network.is_private else ', of the internet: not proposed'}"
        )
    if not found:
        click.echo("   This machine is in no network that I can see.")
    proposed = ", ".join(str(lan.network) for lan in found if lan.network.is_private)
    return ask("   Networks, with commas between; or none", parse_networks, proposed or NOBODY)


def hostname() -> str:
    click.echo("4. What is this relay called, and who looks after it?")
    return ask("   Its name, as others see it", parse_hostname, own_name())


def postmaster() -> str | None:
    question = "   Who reads the mail for postmaster and root here? An address; empty for nobody"
    return ask(question, lambda text: str(parse_reader(text)) if text else None)


# -- what an answer means ---------------------------------------------------------------------------------


def parse_networks(text: str) -> tuple[Network, ...]:
    """``192.168.1.0/24, fd00::/64`` or ``none``.  Raises ValueError."""
    words = [word for word in text.replace(",", " ").split() if word.lower() != NOBODY]
    try:
        return tuple(dict.fromkeys(ip_network(word, strict=False) for word in words))
    except ValueError as fault:
        raise ValueError(f"{fault}; write networks like 192.168.1.0/24, or none") from None


def parse_hostname(text: str) -> str:
    """Raises ValueError."""
    if not is_domain(text) or text.startswith("["):
        raise ValueError(f'"{text}" is no name of a host; write it like gateway.example.org')
    return text


def parse_reader(text: str) -> Address:
    """Raises ValueError."""
    try:
        return parse_mailbox(text)
    except AddressFault as fault:
        raise ValueError(f'"{text}" is no address ({fault}); write it like admin@example.org') from None


def own_name() -> str:
    """The name of this machine, with its domain where that is known."""
    name = socket.gethostname()
    if "." not in name:
        try:
            (_, _, _, canonical, _), *_ = socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)
            name = canonical or name
        except OSError:
            pass
    return name if is_domain(name) and not name.startswith("localhost") else "localhost"
