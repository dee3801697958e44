"""Which configuration is meant when none is named, and where its spool is.

Light, for programs that are started often: only YAML is read.
"""

from __future__ import annotations

import os
from pathlib import Path

from relay.operate.asking import SOCKET_NAME
from relay.operate.places import Data, path_in, read_yaml

SYSTEM_CONFIG = Path("/etc/relay/relay.yaml")


class NoConfig(Exception):
    """The configuration cannot be used; ``str()`` says why, and what to do."""


def has_own_relay(folder: Path) -> bool:
    """Whether somebody runs a relay here, on ``./spool``, and that is us.

    In /tmp anybody could have made such a spool, to be talked to in the place of the relay that was meant.
    """
    spool = folder / "spool"
    try:
        return spool.stat().st_uid == os.geteuid() and (spool / SOCKET_NAME).exists()
    except OSError:
        return False


def chosen_config() -> Path | None:
    """The file to use when none was named: the system's, unless there is a relay of ours in this folder."""
    return None if has_own_relay(Path()) or not SYSTEM_CONFIG.exists() else SYSTEM_CONFIG


def keys_of(file: Path) -> dict[str, Data]:
    """What stands in a configuration file, unchecked: a fault in one key does not hide the others.  Raises NoConfig."""
    try:
        reading = read_yaml(file.read_text(encoding="utf-8-sig"), str(file))
    except PermissionError:
        raise NoConfig(f"{file} cannot be read; it holds no secrets: chmod 644 {file}") from None
    except OSError as error:
        raise NoConfig(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise NoConfig(f"{file} cannot be read: {error}") from None
    if reading.data is None and not reading.faults:
        return {}
    if not isinstance(reading.data, dict):
        raise NoConfig(f"{file} is no configuration; relay check {file} says what is wrong with it")
    return reading.data


def spool_in(file: Path, keys: dict[str, Data]) -> Path:
    """The spool that a configuration names.  Raises NoConfig."""
    named = keys.get("spool", "spool")
    if not isinstance(named, str):
        raise NoConfig(f"{file} does not name the spool; relay check {file} says what is wrong with it")
    return path_in(file.absolute().parent, named)
