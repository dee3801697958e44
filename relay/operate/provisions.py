"""What a relay reads of the files that its configuration names only when it needs them: lists, secrets, authorities.

With a fault in one it starts, and cannot do all that it says: ``relay check`` finds it before the first mail does.
Each is read by the code that reads it then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from relay.deliver.dkim import KeyFault, read_key
from relay.deliver.keyring import NoCredentials, read_secret
from relay.operate import kinds
from relay.operate.config import Config
from relay.operate.places import Fault, Place
from relay.operate.users.file import read_users
from relay.operate.webhooks.receivers import secret_in
from relay.operate.webhooks.signature import UnusableSecret
from relay.policy.recipients import RecipientsFault, parse_recipients
from relay.policy.users import UsersFault
from relay.receive.tls import TlsFault, load_authorities

Named = tuple[str, Path | None, Callable[[Path], object]]
"""The key, the file, and how it is read."""


def faults_of(config: Config) -> Iterator[Fault]:
    """All that is wrong: in a list by its own line, else by the line that names the file."""
    yield from _of_recipients(config.accept.recipients)
    yield from _of_users(config.accept.users)
    for key, path, read in _files(config):
        if path is None or kinds.is_still_to_come(path):
            continue
        try:
            read(path)
        except (NoCredentials, UnusableSecret, TlsFault, KeyFault) as fault:
            yield Fault(config.standing(key), key, str(fault))


def _files(config: Config) -> Iterator[Named]:
    for number, route in enumerate(config.routes):
        yield f"routes[{number}].authorities", route.authorities, load_authorities
        yield f"routes[{number}].password_file", route.password_file, _secret
        if route.oauth is not None:
            yield f"routes[{number}].oauth.client_secret_file", route.oauth.client_secret_file, _secret
    for number, hook in enumerate(config.webhooks):
        yield f"webhooks[{number}].secret_file", hook.secret_file, secret_in
        yield f"webhooks[{number}].authorities", hook.authorities, load_authorities
    if config.tls_reports.dkim is not None:
        yield "tls_reports.dkim.key", config.tls_reports.dkim.key, read_key


def _secret(path: Path) -> str:
    return read_secret(str(path))


def _of_recipients(path: Path | None) -> Iterator[Fault]:
    if path is None:
        return
    name = str(path)
    try:
        parse_recipients(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        yield Fault(Place(name), "accept.recipients", f"cannot be read: {error}")
    except RecipientsFault as bad:
        for one in bad.faults:
            yield Fault(Place(name, one.line, 1), "accept.recipients", f'"{one.text}": {one.why}')


def _of_users(path: object) -> Iterator[Fault]:
    if not isinstance(path, Path):
        return
    try:
        read_users(path)
    except (OSError, UnicodeDecodeError) as error:
        yield Fault(Place(str(path)), "accept.users", f"cannot be read: {error}")
    except UsersFault as bad:
        for one in bad.faults:
            yield Fault(Place(str(path), one.line, 1), "accept.users", one.what)
