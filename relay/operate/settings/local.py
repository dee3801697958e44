"""Mail of programs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from relay.operate import kinds
from relay.operate.settings.section import Section


class Sendmail(Section):
    """Mail of programs on this machine, which `relay sendmail` leaves in a maildrop, whether the relay runs or not."""

    maildrop: kinds.MaildropPath | None = Field(
        default=None,
        description="The folder for it, or `none`. Default: `maildrop` in the spool, which only root and the relay's "
        "own user reach. A folder elsewhere is for all users of this machine; nobody can read what others leave there.",
        examples=["/var/spool/relay-maildrop"],
    )
    domain: kinds.Hostname | None = Field(
        default=None,
        description="What is put behind an address without a domain: `root` becomes `root@` and this. Default: the "
        "hostname.",
        examples=["example.org"],
    )
    senders: Literal["any", "own"] = Field(
        default="any",
        description="As whom users may send: `any` sender, as with other mail programs (who it really was stands in "
        "Received), or their `own` name at `domain`.",
    )
    trusted: tuple[str, ...] = Field(
        default=("root",),
        description="With `senders: own`: users who may send as anybody.",
        examples=["[root, www-data]"],
    )


def maildrop_in(spool: Path, named: Path | Literal["none"] | None) -> Path | None:
    """The folder where a relay looks for mail, or None when it looks nowhere.

    spool  its whole, not the part of a worker
    """
    if named == "none":
        return None
    return named if isinstance(named, Path) else spool / "maildrop"
