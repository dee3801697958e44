"""``relay user``: the file of those who may log in.

It is only a file: no relay need run, and one that runs takes the change by itself.  A password is asked for, or read
from standard input; it is never an argument, where everybody on the machine could see it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.operate.cli.reach import chosen_config, config_option, json_option
from relay.operate.cli.speech import EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_NOPERM, Stop, say, say_json
from relay.operate.cli.tables import show_table

if TYPE_CHECKING:
    from relay.operate.users.editing import Edited, Owner

SCHEMES = ("ARGON2ID", "SCRAM-SHA-256", "BLF-CRYPT", "SHA512-CRYPT")

AnyFunction = Callable[..., Any]


@click.group()
def user() -> None:
    """Add, change and list those who may log in.

    \b
    relay user add ann@example.org
    relay user add printer --senders printer@example.org
    relay user passwd ann@example.org
    relay user list
    """


def _common(command: AnyFunction) -> AnyFunction:
    file = click.option(
        "--file", type=click.Path(path_type=Path), help="The file of users. Default: accept.users of the configuration."
    )
    return config_option(file(command))


_password = click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from standard input, one line.")
_scheme = click.option(
    "--scheme",
    type=click.Choice(SCHEMES, case_sensitive=False),
    default=SCHEMES[0],
    show_default=True,
    help="How the password is kept. SCRAM-SHA-256 lets users log in without sending it, once all are kept so.",
)
_senders = click.option(
    "--senders", metavar="PATTERNS", help="Whom they may send as: addresses, domains, .domain or *, comma-separated."
)


@user.command("add")
@click.argument("name")
@_senders
@_scheme
@_password
@_common
def add(name: str, senders: str | None, scheme: str, from_stdin: bool, file: Path | None, config: Path | None) -> None:
    """Add a user, and set their password.

    Without --senders they may send as any address in their own domain, or, when the name has none, in accept.domains.
    """
    from relay.operate.users import editing

    def added(text: str, kept: str) -> str:
        try:
            return editing.added(text, name, kept, senders)
        except editing.UserExists:
            advice = f"relay user passwd {name} changes the password"
            raise Stop(f"there is a user {name} already; {advice}", EX_DATAERR) from None
        except ValueError as fault:
            raise Stop(str(fault), EX_DATAERR) from None

    added(_text(file, config, new=True), "{PLAIN}x")  # a fault is told before a password is asked for
    kept = _kept(from_stdin, scheme)
    with _edited(file, config, new=True) as edited:
        edited.text = added(edited.text, kept)
    say(f"{name} may log in")


@user.command("passwd")
@click.argument("name")
@_scheme
@_password
@_common
def passwd(name: str, scheme: str, from_stdin: bool, file: Path | None, config: Path | None) -> None:
    """Change a user's password."""
    from relay.operate.users import editing

    with _known(name):
        editing.with_secret(_text(file, config), name, "")
    kept = _kept(from_stdin, scheme)
    with _edited(file, config) as edited, _known(name):
        edited.text = editing.with_secret(edited.text, name, kept)
    say(f"the password of {name} is changed")


@user.command("senders", short_help="Change whom a user may send as.")
@click.argument("name")
@click.argument("patterns", required=False)
@_common
def senders(name: str, patterns: str | None, file: Path | None, config: Path | None) -> None:
    """Change whom a user may send as; without PATTERNS, any address in their own domain."""
    from relay.operate.users import editing

    with _edited(file, config) as edited, _known(name):
        try:
            edited.text = editing.with_senders(edited.text, name, patterns)
        except ValueError as fault:
            raise Stop(str(fault), EX_DATAERR) from None
    say(f"{name} may send as {patterns or 'any address in their own domain'}")


@user.command("remove")
@click.argument("name")
@_common
def remove(name: str, file: Path | None, config: Path | None) -> None:
    """Remove a user."""
    from relay.operate.users import editing

    with _edited(file, config) as edited, _known(name):
        edited.text = editing.removed(edited.text, name)
    say(f"{name} may log in no more")


@user.command("list", short_help="List the users.")
@json_option
@_common
def list_users(as_json: bool, file: Path | None, config: Path | None) -> None:
    """List the users: how the password is kept, and whom they may send as."""
    from relay.operate.users.file import read_users
    from relay.operate.users.passwords import scheme_of
    from relay.policy.users import UsersFault

    path, _ = _file(file, config)
    try:
        users = read_users(path)
    except FileNotFoundError:
        raise Stop(f"there is no file {path}; relay user add makes it", EX_DATAERR) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"{path} cannot be read: {_why(error)}", EX_NOPERM) from None
    except UsersFault as bad:
        lines = "\n".join(f"{path}:{fault.line}: {fault.what}" for fault in bad.faults)
        raise Stop(lines, EX_DATAERR) from None
    rows = []
    for one in users.users.values():
        told = None if one.senders is None else list(one.senders)
        rows.append({"name": one.name, "scheme": scheme_of(one.secret)[0], "senders": told, "on": one.may_log_in})
    if as_json:
        for row in rows:
            say_json(row)
        return
    show_table(
        ("user", "kept as", "may send as"),
        [(str(row["name"]), str(row["scheme"]), _shown(row["senders"], bool(row["on"]))) for row in rows],
    )


def _shown(told: object, on: bool) -> str:
    words = ", ".join(map(str, told)) or "nobody" if isinstance(told, list) else "own domain"
    return words if on else f"{words} (switched off)"


# -- finding the file, asking for the password -----------------------------------------------------------------


@contextmanager
def _edited(file: Path | None, config: Path | None, new: bool = False) -> Iterator[Edited]:
    from relay.operate.users import editing

    path, owner = _file(file, config)
    if not new and not path.exists():
        raise Stop(f"there is no file {path}; relay user add makes it", EX_DATAERR)
    try:
        with editing.editing(path, owner) as edited:
            yield edited
    except OSError as error:
        raise Stop(f"{path} cannot be changed: {error.strerror}", EX_CANTCREAT) from None


def _text(file: Path | None, config: Path | None, new: bool = False) -> str:
    path, _ = _file(file, config)
    if not new and not path.exists():
        raise Stop(f"there is no file {path}; relay user add makes it", EX_DATAERR)
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"{path} cannot be read: {_why(error)}", EX_NOPERM) from None


def _why(error: OSError | UnicodeDecodeError) -> str:
    """Without the path, which stands in the sentence already."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


@contextmanager
def _known(name: str) -> Iterator[None]:
    from relay.operate.users import editing

    try:
        yield
    except editing.NoSuchUser:
        raise Stop(f"there is no user {name}; relay user list shows all", EX_DATAERR) from None


def _file(file: Path | None, config: Path | None) -> tuple[Path, Owner | None]:
    """The file that is meant, and whose it shall be when it is new."""
    if file is not None:
        return file, None
    path = config or chosen_config()
    if path is None:
        raise Stop("which file? name it with --file, or the configuration with --config", EX_CONFIG)
    return _of_config(path)


def _of_config(path: Path) -> tuple[Path, Owner | None]:
    from relay.operate.places import path_in, read_yaml

    # Only the keys that matter are read: accept.users may name a file that is about to be made, which is a fault else.
    try:
        reading = read_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"{path} cannot be read: {_why(error)}", EX_CONFIG) from None
    data = reading.data
    if reading.faults and data is None:
        raise Stop("\n".join(map(str, reading.faults)), EX_CONFIG)
    accept = data.get("accept") if isinstance(data, dict) else None
    named = accept.get("users") if isinstance(accept, dict) else None
    if not isinstance(named, str):
        raise Stop(f"{path} names no file of users; add under accept: the line users: /etc/relay/users", EX_CONFIG)
    if named.startswith("dovecot:"):
        raise Stop(f"{path} takes its users from Dovecot; change them there", EX_CONFIG)
    user = data.get("user") if isinstance(data, dict) else None
    return path_in(path.absolute().parent, named), _owner(user if isinstance(user, str) else None)


def _owner(user: str | None) -> Owner | None:
    """root's, to be read by the relay's group."""
    import os

    from relay.operate.privileges import PrivilegesFault, identity
    from relay.operate.users.editing import Owner

    if user is None or os.geteuid() != 0:
        return None
    try:
        return Owner(0, identity(user, None).gid)
    except PrivilegesFault:
        return None


def _kept(from_stdin: bool, scheme: str) -> str:
    from relay.operate.users.passwords import kept_of

    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = str(click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True))
    try:
        return kept_of(password, scheme)
    except ValueError as fault:
        raise Stop(str(fault), EX_DATAERR) from None
