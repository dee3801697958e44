"""The kinds of value a configuration holds, read from what an operator writes.

Each ``parse_…`` takes what YAML gave and returns the value, or raises ValueError whose text is fit for
a fault: what is wrong; what would be right.  The ``show_…`` are their opposites, for documentation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from relay.message.address import Address, AddressFault, domain_key, is_domain, parse_mailbox
from relay.policy.directory import parse_entry
from relay.policy.recipients import entry_key
from relay.smtp.auth import OF_USERS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
OCTETS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:[smhdw]|\s*(?:second|minute|hour|day|week)s?)\s*)+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_PORT_KINDS = ("tcp", "tcp6", "ssl")


def parse_duration(value: object) -> float:
    """``90s``, ``1m``, ``1h30m``, ``5d``, ``7 days`` in seconds."""
    text = str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{shown(value)} is not a duration; write a number and a unit: 300s, 5m, 4h, 5d")
    seconds = sum(float(number) * SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    if not 0 < seconds <= 10 * 365 * 86400:
        raise ValueError(f"{shown(value)} is out of range; a duration is more than 0s and at most ten years")
    return seconds


def show_duration(seconds: float) -> str:
    for unit in "wdhms":
        count = seconds / SECONDS[unit]
        if count == int(count) and unit != "w":
            return f"{int(count)}{unit}"
    return f"{seconds:g}s"


def parse_size(value: object) -> int:
    """``50 MiB``, ``64 KiB``, ``10 MB`` or a plain number, in octets."""
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    found = _SIZE.fullmatch(text)
    if found is None or found[2].lower() not in OCTETS:
        raise ValueError(f"{shown(value)} is not a size; write octets, or a number and a unit: 64 KiB, 50 MiB, 1 GiB")
    octets = int(float(found[1]) * OCTETS[found[2].lower()])
    if not 0 < octets < 1 << 50:
        raise ValueError(f"{shown(value)} is out of range; a size is more than 0 and less than 1024 TiB")
    return octets


def show_size(octets: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if octets % factor == 0:
            return f"{octets // factor} {unit}"
    return str(octets)


def parse_hostname(value: object) -> str:
    """A name this host may call itself in the banner, EHLO and Received (RFC 5321 §4.1.1.1)."""
    text = _text(value, "a host name", "gateway.example.org")
    if not is_domain(text):
        raise ValueError(f"{shown(value)} is not a host name; write it like gateway.example.org")
    return text


def parse_domain(value: object) -> str:
    """``example.org``, or ``.example.org`` for everything under it; in lower case and A-labels."""
    text = _text(value, "a domain", "example.org")
    bare = text.removeprefix(".")
    if text == "*":
        raise ValueError("* here would make an open relay; name the domains you are responsible for: example.org")
    if "@" in text:
        raise ValueError(f"{shown(value)} is an address; write the domain alone: {text.rpartition('@')[2]}")
    if not is_domain(bare) or (bare is not text and bare.startswith("[")):
        raise ValueError(f"{shown(value)} is not a domain; write example.org, or .example.org for all under it")
    return ("." if bare is not text else "") + domain_key(bare)


def parse_address(value: object) -> Address:
    """A mailbox with its domain."""
    text = _text(value, "an address", "ann@example.org")
    try:
        return parse_mailbox(text.removeprefix("<").removesuffix(">"))
    except AddressFault as fault:
        raise ValueError(f"{shown(value)} is not an address: {fault}; write it like ann@example.org") from None


def parse_network(value: object) -> Network:
    """A network in CIDR form, or one address.  An IPv4-mapped IPv6 network is the IPv4 network."""
    text = _text(value, "a network", "192.168.0.0/16")
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        try:
            right = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{shown(value)} is not a network; write it like 192.168.0.0/16 or ::1/128") from None
        raise ValueError(f"{shown(value)} has bits set behind its prefix; did you mean {right}?") from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


@dataclass(frozen=True, slots=True)
class Server:
    """A DNS server by address."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return host if self.port == 53 else f"{host}:{self.port}"


def parse_server(value: object) -> Server:
    """``192.0.2.53``, ``192.0.2.53:5353``, ``2001:db8::53`` or ``[2001:db8::53]:5353``."""
    text = _text(value, "the address of a DNS server", "192.0.2.53")
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([^:]+):(\d{1,5})", text)
    host, port = (found[1] or found[3], found[2] or found[4] or "53") if found else (text, "53")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(
            f"{shown(value)} is not an IP address; write it like 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53"
        ) from None
    return Server(str(address), _port(port))


def parse_ip(value: object) -> str:
    """An IP address, in its canonical form."""
    text = _text(value, "an IP address", "127.0.0.1")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{shown(value)} is not an IP address; write it like 127.0.0.1 or ::1") from None


def parse_endpoint(value: object) -> str:
    """A Twisted server endpoint description that Twisted itself understands.

    A socket handed over by systemd is there only when systemd starts us, so of ``systemd:`` the form is checked.
    """
    text = _text(value, "an endpoint", "tcp:25")
    right = "write it like tcp:25, tcp:2525:interface=127.0.0.1, unix:/run/relay/smtp or systemd:domain=INET:index=0"
    kind, _, rest = text.partition(":")
    if kind == "systemd":
        if not re.fullmatch(r"domain=(INET6?|UNIX):(index=\d+|name=[^:]+)", rest):
            raise ValueError(f"{shown(value)} is not a systemd endpoint; write it like systemd:domain=INET:index=0")
        return text
    if kind == "unix" and not rest.split(":", 1)[0]:
        raise ValueError(f"{shown(value)} has no path after unix:; {right}")
    port = rest.split(":", 1)[0].removeprefix("port=")
    if kind in _PORT_KINDS and not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{shown(value)} has no port from 0 to 65535 after {kind}:; {right}")
    from twisted.internet.endpoints import serverFromString  # not for those who only look for a size

    parse: Callable[[object, str], object] = serverFromString
    try:
        parse(None, text)  # the reactor is only kept, for listening
    except Exception as error:  # whatever an endpoint plugin raises, the operator's text is at fault
        raise ValueError(f"{shown(value)} is not an endpoint ({' '.join(str(error).split())}); {right}") from None
    return text


def parse_forward_key(value: object) -> str:
    """``ann@example.org``, ``ann`` (in every domain of ours) or ``@example.org`` (all that does not exist there)."""
    text = _text(value, "an address", "ann@example.org")
    try:
        entry_key(text)
    except AddressFault as fault:
        raise ValueError(
            f"{shown(value)} is not an address: {fault}; write it like ann@example.org, ann, or @example.org"
        ) from None
    return text


def parse_person(value: object) -> str:
    """``Mark Crispin <Admin.MRC@example.org>``, or an address alone: whom VRFY names (RFC 5321 §3.5.1)."""
    text = _text(value, "a person", "Mark Crispin <mrc@example.org>")
    try:
        parse_entry("", text)
    except AddressFault as fault:
        raise ValueError(
            f"{shown(value)} is not a person: {fault}; write it like Mark Crispin <mrc@example.org>"
        ) from None
    return text


@dataclass(frozen=True, slots=True)
class DovecotSocket:
    """Where Dovecot's auth service listens for clients."""

    path: Path

    def __str__(self) -> str:
        return f"dovecot:{self.path}"


TLS_VERSIONS = ("1.0", "1.1", "1.2", "1.3")


def parse_tls_version(value: object) -> str:
    """``1.2``, in quotes or not."""
    text = str(value) if isinstance(value, (str, float)) else ""
    if text not in TLS_VERSIONS:
        raise ValueError(f"{shown(value)} is not a version of TLS; write {', '.join(TLS_VERSIONS[:-1])} or 1.3")
    return text


def parse_mechanism(value: object) -> str:
    """The name of a SASL mechanism that is there."""
    text = _text(value, "a mechanism", "PLAIN").upper()
    if text not in OF_USERS:
        raise ValueError(f"{shown(value)} is not a mechanism that is known here; {', '.join(OF_USERS)} are")
    return text


def parse_fingerprint(text: str) -> str:
    """``sha256:`` and 64 hexadecimal digits, with or without colons between them; in lower case without."""
    digits = text.partition(":")[2].replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError(
            f"{shown(text)} is not a fingerprint; write sha256: and what this says: "
            "openssl x509 -noout -fingerprint -sha256 -in client.crt"
        )
    return f"sha256:{digits}"


def masked(url: str) -> str:
    """A URL as it may be shown: what comes after the host may be a secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{'/…' if parts.path.strip('/') or parts.query else parts.path}"


def parse_webhook(value: object) -> str:
    """A URL to which events are sent."""
    return parse_https(value, "https://app.example.org/hooks/mail")


def parse_https(value: object, example: str = "https://login.example.org/introspect") -> str:
    """A URL that is encrypted, or of this machine."""
    text = _text(value, "a URL", example)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    is_here = host in ("localhost", "127.0.0.1", "::1")
    if not (host and text.isascii() and (parts.scheme == "https" or (parts.scheme == "http" and is_here))):
        raise ValueError(f"{shown(value)} is not a URL for this; write it like {example}")
    return text


def shown(value: object) -> str:
    """The value as a fault quotes it: short, and in one line."""
    text = value if isinstance(value, str) else repr(value) if not isinstance(value, bool) else str(value).lower()
    if value is None:
        text = "nothing"
    text = "".join(c if c.isprintable() else "?" for c in text)
    return f'"{text[:80]}…"' if len(text) > 80 else f'"{text}"' if isinstance(value, str) else text


def _text(value: object, kind: str, example: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{shown(value)} is not {kind}; write it like {example}")
    return value.strip()


def _port(text: str) -> int:
    if not 0 < int(text) <= 65535:
        raise ValueError(f"{text} is not a port; a port is a number from 1 to 65535")
    return int(text)
