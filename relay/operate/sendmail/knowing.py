"""What a program that hands over mail needs to know of the configuration: names, and where the maildrop is.

Only these keys are read: a fault elsewhere in the file keeps nobody's mail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from relay.operate.interfaces import own_hostname
from relay.operate.places import Data, path_in
from relay.operate.values import parse_hostname, parse_size
from relay.operate.whereabouts import SYSTEM_CONFIG, NoConfig, chosen_config, keys_of, spool_in

T = TypeVar("T")

SIZE_LIMIT_OCTETS = 50 << 20
"""``accept.message_size`` where the file has none."""


@dataclass(frozen=True, slots=True)
class Known:
    """maildrop    where to leave mail
    hostname    the relay's name
    domain      for addresses that have none
    size_limit  octets of content
    """

    maildrop: Path
    hostname: str
    domain: str
    size_limit: int


def known(config: str | None, spool: str | None) -> Known:
    """What the configuration says, by what the command line names.  Raises NoConfig."""
    named = config or os.environ.get("RELAY_CONFIG")
    file = Path(named) if named else None if spool else chosen_config()
    if file is None:
        folder = Path(spool).absolute() if spool else _own_spool()
        return _known({}, folder, Path.cwd(), "")
    keys = keys_of(file)
    folder = Path(spool).absolute() if spool else spool_in(file, keys)
    return _known(keys, folder, file.absolute().parent, str(file))


def _own_spool() -> Path:
    """``./spool``, which must be ours: in /tmp anybody could have made one, to read what we leave there."""
    folder = Path("spool").absolute()
    try:
        if folder.stat().st_uid == os.geteuid():
            return folder
    except OSError:
        pass
    raise NoConfig(
        f"no relay is set up here: there is neither {SYSTEM_CONFIG} nor a spool of yours in this folder; "
        "name one with --config or --spool, or make one with relay init"
    )


def _known(keys: Mapping[str, Data], spool: Path, folder: Path, file: str) -> Known:
    sendmail, accept = _section(keys, "sendmail"), _section(keys, "accept")
    hostname = _value(keys, "hostname", parse_hostname, own_hostname(), file)
    maildrop = sendmail.get("maildrop")
    if maildrop == "none" or not isinstance(maildrop, str | None):
        raise NoConfig(f"{file}: sendmail.maildrop is {maildrop}: programs of this machine send by SMTP here")
    return Known(
        path_in(folder, maildrop) if maildrop is not None else spool / "maildrop",
        hostname,
        _value(sendmail, "domain", parse_hostname, hostname, file),
        _value(accept, "message_size", parse_size, SIZE_LIMIT_OCTETS, file),
    )


def _section(keys: Mapping[str, Data], name: str) -> Mapping[str, Data]:
    section = keys.get(name)
    return section if isinstance(section, dict) else {}


def _value(keys: Mapping[str, Data], name: str, parse: Callable[[object], T], otherwise: T, file: str) -> T:
    value = keys.get(name)
    if value is None:
        return otherwise
    try:
        return parse(value)
    except ValueError as fault:
        raise NoConfig(f"{file}: {name}: {fault}") from None
