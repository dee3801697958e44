"""Loading the configuration: all of its faults at once, each with its place and what would be right.

The rule that must not be broken: a configuration either loads whole or not at all, and the embedded default
is no open relay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from relay.operate.faults import fault_of
from relay.operate.places import Data, Fault, Place, Reading, dotted, read_yaml
from relay.operate.places import Path as KeyPath
from relay.operate.settings import Settings
from relay.operate.settings.operating import is_loopback
from relay.route.table import ANY
from relay.route.via import parse_via

FIXED_AT_START = (
    "hostname",
    "spool",
    "user",
    "group",
    "workers",
    "listen",
    "dns",
    "log.file",
    "admin",
    "delivery.mta_sts",
    "tls_reports",
    "sendmail.maildrop",
)
"""Keys that a reload cannot change: a restart is needed.  One dot at most."""

BUILT_IN = Place("built-in default")
PROGRAM = Place("the program")

_ADD_TLS = "add the line tls: {certificate: /etc/relay/tls.crt, key: /etc/relay/tls.key}"


class ConfigFaults(Exception):
    """The configuration cannot be used; ``faults`` is everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


class Config(Settings):
    """A configuration, and where each part of it stands."""

    _source: str = PrivateAttr(default=str(BUILT_IN))
    _places: Mapping[str, Place] = PrivateAttr(default_factory=dict)
    _warnings: tuple[Fault, ...] = PrivateAttr(default=())
    _whole: Config | None = PrivateAttr(default=None)

    @property
    def whole(self) -> Config:
        """As it is written, where this is what one of several workers was given of it."""
        return self._whole or self

    @property
    def source(self) -> str:
        """The file it came from, or that it is built in."""
        return self._source

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """What is allowed and probably not meant."""
        return self._warnings

    def place(self, path: str) -> str:
        """Where a value stands, as verdicts and log lines name it: ``relay.yaml:12``.

        path  ``routes[2].via``; what stands nowhere is a built-in default
        """
        return str(self._places.get(path, BUILT_IN))

    def standing(self, path: str) -> Place:
        """Where a value stands, or the innermost thing around it that the file or the command line names."""
        while path and path not in self._places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._places[path] if path else Place(self._source)

    def says(self, path: str) -> bool:
        """Whether the file or the command line names a key."""
        return path in self._places

    @property
    def places(self) -> Mapping[str, str]:
        """Where each key stands that the file or the command line names."""
        return {path: str(place) for path, place in self._places.items() if path}

    def standing_at(self, source: str, places: Mapping[str, str]) -> Config:
        """The same configuration, as it stands there: in the forms of ``source`` and ``places``."""
        moved = self.model_copy()
        moved._source = source
        moved._places = {path: Place(place) for path, place in places.items()}
        return moved

    def needs_restart(self, newer: Config) -> tuple[str, ...]:
        """Keys that differ in a newer configuration and take effect only by a restart."""
        return tuple(key for key in FIXED_AT_START if attrgetter(key)(self) != attrgetter(key)(newer))

    def keeping(self, older: Config) -> Config:
        """This configuration as a reload can use it: with the older one's values where only a restart changes them."""
        changes: dict[str, Any] = {}
        for key in FIXED_AT_START:
            name, _, inner = key.partition(".")
            kept = attrgetter(key)(older)
            changes[name] = getattr(self, name).model_copy(update={inner: kept}) if inner else kept
        kept_so = self.model_copy(update=changes)
        if self._whole is not None:
            kept_so._whole = self._whole.keeping(older.whole)
        return kept_so

    def of_whole(self, whole: Config) -> Config:
        """This configuration as a part of another one."""
        part = self.model_copy()
        part._whole = whole
        return part


def load(
    path: str | Path | None = None,
    *,
    listen: Sequence[str] = (),
    spool: str | Path | None = None,
    smarthost: str | None = None,
    functions: Collection[str] = (),
    admin: str | None = None,
) -> Config:
    """The configuration of a file, or the embedded one; what the command line gives wins over the file.

    listen     endpoints, in place of the file's
    smarthost  ``HOST:PORT``: where everything goes that no narrower route of the file takes
    functions  names of those that routes may lead to
    admin      the endpoint of the page, in place of the file's; ``none``: no page

    Raises ConfigFaults with everything that is wrong.
    """
    reading = _read(path)
    nowhere = Place(str(path)) if path is not None else BUILT_IN
    data = _mapping(reading)
    if listen:
        _put(data, reading, "listen", [{"endpoint": endpoint} for endpoint in listen], "--listen")
    if spool is not None:
        _put(data, reading, "spool", str(Path(spool).absolute()) if spool else "", "--spool")
    if smarthost is not None:
        _put_smarthost(data, reading, smarthost)
    if admin is not None:
        _put_admin(data, reading, admin)
    data.setdefault("spool", "spool")  # a default too is relative to the folder of the file
    folder = Path(path).absolute().parent if path is not None else Path.cwd()
    return _made(data, reading, folder, nowhere, functions)


def configured(data: Mapping[str, Any], *, folder: str | Path = ".", functions: Collection[str] = ()) -> Config:
    """The configuration that a program gives: keys and values as in a file, as plain data.

    folder     where relative paths start
    functions  names of those that routes may lead to

    Raises ConfigFaults with everything that is wrong.
    """
    plain = _plain(data)
    reading = Reading(plain)
    _mark(reading, (), plain, PROGRAM)
    return _made(_mapping(reading), reading, Path(folder).absolute(), PROGRAM, functions)


def _made(data: dict[str, Data], reading: Reading, folder: Path, nowhere: Place, functions: Collection[str]) -> Config:
    data.setdefault("spool", "spool")  # a default too is relative to the folder of the file
    reading.faults.extend(_contradictions(data, reading))
    reading.faults.extend(_unknown_functions(data, reading, functions))
    config = _validated(data, reading, folder, nowhere)
    config._source = str(nowhere)
    config._places = {dotted(key): place for key, place in reading.keys.items()}
    config._warnings = tuple(_doubts(config, reading, nowhere))
    return config


def _plain(value: Any) -> Data:
    """What a program may write in the place of a file's plain data: paths, tuples."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _read(path: str | Path | None) -> Reading:
    if path is None:
        return Reading(None)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigFaults([Fault(Place(str(path)), "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        what = f"the octet at {error.start} is not UTF-8; save the file as UTF-8"
        raise ConfigFaults([Fault(Place(str(path)), "", what)]) from None
    return read_yaml(text, str(path))


def _mapping(reading: Reading) -> dict[str, Data]:
    if isinstance(reading.data, dict):
        return dict(reading.data)
    if reading.data is not None:
        what = "a configuration is a mapping; begin with a key: hostname: gateway.example.org"
        reading.faults.append(Fault(reading.values[()], "", what))
    return {}


def _validated(data: dict[str, Data], reading: Reading, folder: Path, nowhere: Place) -> Config:
    try:
        config = Config.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        told = {fault.path for fault in reading.faults}
        found = [fault_of(details, reading, nowhere) for details in error.errors() if not _echoes(details)]
        reading.faults.extend(fault for fault in found if fault.path not in told)
    else:
        if not reading.faults:
            return config
    raise ConfigFaults(sorted(reading.faults, key=lambda fault: (fault.place.line, fault.place.column)))


def _echoes(details: ErrorDetails) -> bool:
    """A list all of whose items are at fault also counts as too short."""
    return details["type"] == "too_short" and bool(details["input"])


# -- what the command line says -------------------------------------------------------------------


def _put(data: dict[str, Data], reading: Reading, key: str, value: Data, option: str) -> None:
    """Puts an option's value in the place of the file's, whose faults then matter no more."""
    data[key] = value
    _forget(reading, (key,))
    reading.faults[:] = [fault for fault in reading.faults if not fault.path.startswith(key)]
    _mark(reading, (key,), value, Place(option))


def _put_smarthost(data: dict[str, Data], reading: Reading, smarthost: str) -> None:
    """Where the file has a route for everything, the smart host takes its place; otherwise it comes last."""
    try:
        parse_via(f"smtp://{smarthost}")
    except ValueError as error:
        what = f"{error}; write --smarthost HOST:PORT, as in smtp.provider.example:587"
        reading.faults.append(Fault(Place("--smarthost"), "", what))
        return
    given = data.get("routes")
    if given is not None and not isinstance(given, list):
        return  # a fault of its own
    routes = list(given or ())
    at = next((number for number, route in enumerate(routes) if _takes_all(route)), len(routes))
    routes[at : at + 1] = [{"to": ANY, "via": f"smtp://{smarthost}"}]
    data["routes"] = routes
    _forget(reading, ("routes", at))
    _mark(reading, ("routes", at), routes[at], Place("--smarthost"))


def _put_admin(data: dict[str, Data], reading: Reading, admin: str) -> None:
    """The endpoint alone is replaced: the file's token stays in force."""
    given = data.get("admin")
    kept = given if isinstance(given, dict) and admin != "none" else {}
    data["admin"] = {**kept, "http": admin} if admin != "none" else admin
    path: KeyPath = ("admin", "http") if admin != "none" else ("admin",)
    _forget(reading, path)
    reading.faults[:] = [fault for fault in reading.faults if fault.path != dotted(path)]
    _mark(reading, path, admin, Place("--admin"))
    reading.keys.setdefault(("admin",), Place("--admin"))


def _mark(reading: Reading, path: KeyPath, value: Data, place: Place) -> None:
    reading.keys[path] = reading.values[path] = place
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in pairs:
        _mark(reading, (*path, step), inner, place)


def _forget(reading: Reading, path: KeyPath) -> None:
    for places in (reading.keys, reading.values):
        for inner in [inner for inner in places if inner[: len(path)] == path]:
            del places[inner]


def _takes_all(route: Data) -> bool:
    return isinstance(route, dict) and route.get("to") == ANY and route.get("from", ANY) == ANY


# -- what no single value shows -------------------------------------------------------------------


def _contradictions(data: Mapping[str, Data], reading: Reading) -> Iterator[Fault]:
    """Faults that lie between sections.  Looked for in the plain data, so that they are told with all the others."""

    def fault(path: KeyPath, what: str) -> Fault:
        return Fault(reading.nearest(path, reading.values) or BUILT_IN, dotted(path), what)

    bounce = data.get("bounce")
    to_postmaster = isinstance(bounce, dict) and bounce.get("double_bounce") == "postmaster"
    if to_postmaster and data.get("postmaster") is None:
        yield fault(("bounce", "double_bounce"), "there is no postmaster; add the line postmaster: admin@example.org")
    yield from (fault(path, what) for path, what in _of_listeners(data))
    yield from (fault(path, what) for path, what in _of_admin(data))
    yield from (fault(path, what) for path, what in _of_webhooks(data))
    if data.get("group") is not None and data.get("user") is None:
        yield fault(("group",), "a group without a user; add the line user: relay")


def _unknown_functions(data: Mapping[str, Data], reading: Reading, functions: Collection[str]) -> Iterator[Fault]:
    """Functions are there only in a program that relay is part of."""
    routes = data.get("routes")
    for number, route in enumerate(routes if isinstance(routes, list) else ()):
        via = route.get("via") if isinstance(route, dict) else None
        scheme, _, name = via.partition(":") if isinstance(via, str) else ("", "", "")
        if scheme.strip().lower() == "function" and name not in functions:
            path: KeyPath = ("routes", number, "via")
            known = f"there are: {', '.join(sorted(functions))}" if functions else "see docs/embedding.md"
            what = f"there is no function {name!r}: only a program that relay is part of has functions; {known}"
            yield Fault(reading.nearest(path, reading.values) or BUILT_IN, dotted(path), what)


def _of_listeners(data: Mapping[str, Data]) -> Iterator[tuple[KeyPath, str]]:
    """What a listener asks for that the rest of the file does not give."""
    listens, accept = data.get("listen"), data.get("accept")
    accept = accept if isinstance(accept, dict) else {}
    has_users = accept.get("users") is not None or accept.get("tokens") is not None
    for number, listen in enumerate(listens if isinstance(listens, list) else ()):
        if not isinstance(listen, dict):
            continue
        if data.get("tls") is None and listen.get("service") == "submissions":
            yield ("listen", number, "service"), f"submissions needs a certificate; {_ADD_TLS}"
        if data.get("tls") is None and listen.get("tls") == "required":
            yield ("listen", number, "tls"), f"TLS needs a certificate; {_ADD_TLS}"
        if listen.get("login") == "required" and not has_users:
            yield ("listen", number, "login"), "nobody can log in; add the line users: /etc/relay/users under accept"


def _of_admin(data: Mapping[str, Data]) -> Iterator[tuple[KeyPath, str]]:
    """A page that anybody could open, or that has no certificate."""
    admin = data.get("admin")
    if not isinstance(admin, dict):
        return
    http = admin.get("http")
    if isinstance(http, str) and not is_loopback(http) and admin.get("token_file") is None:
        yield (
            ("admin", "http"),
            "whoever reaches this port could read and remove mail; add token_file: /etc/relay/admin.token "
            "(openssl rand -hex 24 makes a token), or keep to this machine: tcp:8025:interface=127.0.0.1",
        )
    if data.get("tls") is None and admin.get("tls") is True:
        yield ("admin", "tls"), f"TLS needs a certificate; {_ADD_TLS}"


def _of_webhooks(data: Mapping[str, Data]) -> Iterator[tuple[KeyPath, str]]:
    """What nobody could be told, or would be told twice."""
    hooks = data.get("webhooks")
    urls: list[Data] = []
    for number, hook in enumerate(hooks if isinstance(hooks, list) else ()):
        url = hook.get("url") if isinstance(hook, dict) else None
        if url is not None and url in urls:
            yield ("webhooks", number, "url"), "this one is told already; give it all its events there"
        urls.append(url)
    if urls and data.get("journal") == "none":
        yield ("journal",), "webhooks tell what is in the journal; remove this line, or the webhooks"


def _doubts(config: Config, reading: Reading, nowhere: Place) -> Iterator[Fault]:
    """What is allowed and probably not meant."""
    for number, network in enumerate(config.accept.networks):
        if network.prefixlen == 0:
            path: KeyPath = ("accept", "networks", number)
            what = f"{network} is everybody: this is an open relay, and will be used by spammers within hours"
            yield Fault(reading.nearest(path, reading.values) or nowhere, dotted(path), what)
    for number, route in enumerate(config.routes[:-1]):
        if route.to == ANY and route.sender == ANY:
            path = ("routes", number)
            what = "matches everything, so that no route after it is ever used; move it to the end"
            yield Fault(reading.nearest(path, reading.keys) or nowhere, dotted(path), what)
    if config.accept.users or config.accept.tokens:
        may = [listen.login != "none" and (listen.login_without_tls or bool(config.tls)) for listen in config.listen]
        if not any(may):
            what = "nobody can log in: there is no certificate, and no listener has login_without_tls"
            yield Fault(reading.nearest(("accept", "users"), reading.keys) or nowhere, "accept.users", what)
    for number, route in enumerate(config.routes):
        oauth = route.oauth
        if oauth is not None and not oauth.refresh_token_file.exists():
            path = ("routes", number, "oauth", "refresh_token_file")
            what = f"there is no file {oauth.refresh_token_file} yet; relay oauth login makes it"
            yield Fault(reading.nearest(path, reading.values) or nowhere, dotted(path), what)
        if route.tls == "dane" and not config.dns.trusted:
            path = ("routes", number, "tls")
            what = "nobody says what is signed, and no mail goes this way; name a validating resolver in dns.trusted"
            yield Fault(reading.nearest(path, reading.values) or nowhere, dotted(path), what)
    if config.tls_reports.send and config.tls_reports.dkim is None:
        what = "reports by mail are not signed, and who gets them is to ignore such ones; add dkim under tls_reports"
        yield Fault(reading.nearest(("tls_reports", "send"), reading.values) or nowhere, "tls_reports.send", what)
    if "." not in config.hostname.strip("."):
        why = f'"{config.hostname}" has no dot, and many hosts refuse mail from such a name'
        what = f"{why}; write hostname: gateway.example.org"
        yield Fault(reading.nearest(("hostname",), reading.values) or nowhere, "hostname", what)
