"""/etc/hosts, which the DNS library does not read: smart hosts of a LAN often stand nowhere else.

It answers only for hosts that our own configuration names, and for the names of clients.  A recipient's domain
is the DNS's affair (RFC 5321 §5.1).
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from relay.message.address import domain_key, is_domain
from relay.route.via import plain

LOOK_AGAIN_S = 5.0
"""How often a file of the system is looked at for a change."""
_SIZE_LIMIT_OCTETS = 16 * 1024 * 1024

# RFC 6761 §6.3: these names mean this machine, whatever the DNS says.
_LOCALHOST = ("127.0.0.1", "::1")


class WatchedFile:
    """Tells when a file has changed, looking at most every LOOK_AGAIN_S."""

    def __init__(self, path: Path, clock: IReactorTime) -> None:
        self.path = path
        self._clock = clock
        self._look_again_at = float("-inf")
        self._seen: tuple[int, int, int] | bool | None = False  # False: never looked

    def has_changed(self) -> bool:
        """Whether it is another file, or another text, than at the last call; True at the first."""
        now = self._clock.seconds()
        if (
            self._look_again_at - LOOK_AGAIN_S <= now < self._look_again_at
        ):  # else the time has come, or the clock was set back
            return False
        self._look_again_at = now + LOOK_AGAIN_S
        seen, self._seen = self._seen, self._stamp()
        return seen != self._seen

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


class HostsFile:
    """The names and addresses of a hosts file; read again when it changes.  A missing file is an empty one."""

    def __init__(self, clock: IReactorTime, path: Path = Path("/etc/hosts")) -> None:
        self._file = WatchedFile(path, clock)
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._names: dict[str, str] = {}

    def addresses(self, name: str) -> tuple[str, ...]:
        """The addresses of a host, in the order of the file; none when it is not in it.

        name  in lower case and A-labels
        """
        self._refresh()
        found = self._addresses.get(name, ())
        return found or (_LOCALHOST if name == "localhost" or name.endswith(".localhost") else ())

    def name(self, address: str) -> str | None:
        """The name of a textual IP address: the first that the file gives it."""
        self._refresh()
        return self._names.get(address)

    def _refresh(self) -> None:
        if self._file.has_changed():
            self._addresses, self._names = _read(self._file.path)


def _read(path: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    try:
        with path.open("rb") as file:
            text = file.read(_SIZE_LIMIT_OCTETS).decode("utf-8", "replace")
    except OSError:
        return {}, {}
    addresses: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        try:
            address = plain(ip_address(words[0]))
        except (IndexError, ValueError):
            continue
        for name in (domain_key(word) for word in words[1:] if is_domain(word)):
            listed = addresses.setdefault(name, [])
            if address not in listed:
                listed.append(address)
            names.setdefault(address, name)
    return {name: tuple(listed) for name, listed in addresses.items()}, names
