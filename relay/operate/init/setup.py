"""Setting a relay up: decided, tried out, written down, tried again with a message.

The rules that must not be broken: nothing is written before all is decided, and over nothing that nobody gave up; a
secret is shown nowhere.
"""

from __future__ import annotations

import pwd
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from relay.operate.cli.findings import Drawing
from relay.operate.cli.speech import EX_CANTCREAT, EX_SOFTWARE, EX_USAGE, Stop, printable_lines
from relay.operate.init import unit
from relay.operate.init.deciding import Deciding, Given
from relay.operate.init.plan import Plan, configuration, doubts
from relay.operate.init.sending import runs, send_test
from relay.operate.init.trying import CannotTry, busy_port, own_command, probe
from relay.operate.init.writing import FOR_ALL, FOR_ONE, Owner, write
from relay.operate.sendmail.handing import this_user

UNIT_FILE = Path("/etc/systemd/system/relay.service")
SYSTEMD = Path("/run/systemd/system")
"""Is there where systemd runs."""
INSTALL = "systemctl daemon-reload && systemctl enable --now relay"


@dataclass(slots=True)
class Done:
    """What was done, as --json tells it."""

    file: str
    written: list[str] = field(default_factory=list)
    made_user: str | None = None
    warnings: list[str] = field(default_factory=list)
    way_out: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    start: str = ""
    unit: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether what was tried has worked."""
        way_out = self.way_out is None or self.way_out["verdict"] == "accepted"
        return way_out and (self.message is None or self.message["state"] in ("delivered", "discarded"))


class Setup:
    """One relay that is set up.

    done  what was done so far
    """

    def __init__(self, given: Given, speaks: bool = True) -> None:
        """speaks  what is done is told as it is done"""
        self._given = given
        self._speaks = speaks
        self._deciding = Deciding(given)
        self._file = self._deciding.file
        self._replaces = given.replaces
        self.done = Done(str(self._file))

    def run(self) -> None:
        """All of it.  Raises Stop, click.Abort."""
        self._mind_what_is_there()
        plan = self._decided()
        self._warn(plan)
        self._make_user(plan)
        self._write(plan)
        if self._given.tries:
            self._send(plan)
        self._tell_the_rest(plan)

    def say(self, text: str = "") -> None:
        if self._speaks:
            click.echo(printable_lines(text))

    # -- deciding --------------------------------------------------------------------------------

    def _mind_what_is_there(self) -> None:
        if not self._file.exists() or self._given.replaces:
            return
        if not self._given.is_asked:
            raise Stop(f"{self._file} is there already; --force puts a new one in its place", EX_CANTCREAT)
        if not click.confirm(f"{self._file} is there already. Put a new one in its place?", default=False):
            raise Stop(f"{self._file} stays as it is; name another file to set up another relay", EX_CANTCREAT)
        self._replaces = True

    def _decided(self) -> Plan:
        """The plan, once it was tried out or is wanted all the same."""
        plan = self._deciding.plan()
        while self._given.tries and not self._way_out_is_well(plan):
            if not self._given.is_asked or click.confirm("Keep these answers all the same?", default=False):
                break
            plan = self._deciding.again(plan)
        return plan

    def _warn(self, plan: Plan) -> None:
        self.done.warnings += doubts(plan)
        for endpoint in plan.listen if not runs(Path(plan.spool)) else ():
            port = busy_port(endpoint)
            if port is not None:
                self.done.warnings.append(f"port {port} is taken: stop the mail server that has it (ss -ltnp) first")
        for warning in self.done.warnings:
            self.say(f"! {warning}")

    # -- trying the way out ------------------------------------------------------------------------

    def _way_out_is_well(self, plan: Plan) -> bool:
        """Asks the next host in truth, by a draft of the configuration; nothing is sent."""
        sender, recipient = self._correspondents(plan)
        if recipient is None:
            self.say("There is no address to try the way out with; --test-to names one.")
            return True
        self.say(f"\nTrying the way to {plan.smart_host.host if plan.smart_host else recipient} …")
        rows: list[Mapping[str, Any]] = []
        drawing = Drawing()

        def found(row: Mapping[str, Any]) -> None:
            rows.append(row)
            if self._speaks:
                drawing.draw(row)

        with tempfile.TemporaryDirectory(prefix="relay-init-") as name:
            draft = self._draft(plan, Path(name))
            try:
                verdict = probe(draft, sender, recipient, found)
            except CannotTry as why:
                raise Stop(f"the way out cannot be tried: {why}", EX_SOFTWARE) from None
        self.done.way_out = {"verdict": verdict, "reply": rows[-1]["reply"] if rows else "", "findings": rows}
        self.say("It works.\n" if verdict == "accepted" else "It does not work yet.\n")
        return verdict == "accepted"

    def _draft(self, plan: Plan, folder: Path) -> Path:
        """The same configuration where it harms nobody, its password beside it."""
        host = plan.smart_host
        if host is not None and self._deciding.password is not None:
            write(folder / "password", self._deciding.password + "\n", FOR_ONE)
            host = replace(host, password=folder / "password")
        draft = replace(plan, smart_host=host, spool=folder / "spool", maildrop=None)
        write(folder / "relay.yaml", configuration(draft, _today()), FOR_ONE)
        return folder / "relay.yaml"

    def _correspondents(self, plan: Plan) -> tuple[str, str | None]:
        """Who writes a test to whom: providers take only mail of who logs in."""
        login = plan.smart_host.login if plan.smart_host is not None else None
        own = login if login is not None and "@" in login else plan.postmaster
        return own or f"{this_user().name}@{plan.hostname}", self._given.test_to or plan.postmaster or own

    # -- writing it down -----------------------------------------------------------------------------

    def _make_user(self, plan: Plan) -> None:
        if plan.user is None or _known(plan.user) is not None:
            return
        command = ["useradd", "--system", "--home-dir", str(plan.spool), "--shell", "/usr/sbin/nologin", plan.user]
        if self._given.is_asked and not click.confirm(f"There is no user {plan.user}. Make it?", default=True):
            raise Stop(f"make the user first: {' '.join(command)}; or name another with --user", EX_USAGE)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Stop(f"{' '.join(command)}: {done.stderr.strip()}", EX_CANTCREAT)
        self.done.made_user = plan.user

    def _write(self, plan: Plan) -> None:
        host = plan.smart_host
        owner = _known(plan.user) if plan.user is not None else None
        if host is not None and self._deciding.password is not None:
            self._write_one(Path(str(host.password)), self._deciding.password + "\n", FOR_ONE, owner)
        self._write_one(self._file, configuration(plan, _today()), FOR_ALL, None, replaces=self._replaces)

    def _write_one(self, path: Path, text: str, mode: int, owner: Owner | None, replaces: bool = False) -> None:
        if mode == FOR_ALL and not replaces and _says(path, text):
            self.say(f"there already: {path}")
            return
        replaces = replaces or self._given.replaces
        if not replaces and path.exists() and self._given.is_asked and path != self._file:
            replaces = click.confirm(f"{path} is there already. Put a new one in its place?", default=True)
        try:
            write(path, text, mode, replaces=replaces, owner=owner)
        except FileExistsError:
            raise Stop(f"{path} is there already; --force puts a new one in its place", EX_CANTCREAT) from None
        except OSError as error:
            raise Stop(f"{path}: {error.strerror}", EX_CANTCREAT) from None
        self.done.written.append(str(path))
        self.say(f"written: {path}{' (for its owner alone)' if mode == FOR_ONE else ''}")

    def _send(self, plan: Plan) -> None:
        sender, recipient = self._correspondents(plan)
        asks = self._given.is_asked and recipient is not None
        if recipient is None or (asks and not click.confirm(f"Send a test message to {recipient}?", default=True)):
            return
        sent = send_test(self._file, Path(plan.spool), plan.hostname, sender, recipient, self.say)
        self.done.message = {"to": recipient, **sent.row()}

    def _tell_the_rest(self, plan: Plan) -> None:
        command = own_command()
        self.done.start = f"{command} run --config {self._file}"
        if self._deciding.is_root:
            self._tell_of_the_unit(unit.text(unit.Places(command, self._file, plan.spool, plan.user, plan.maildrop)))
        self.say(f"\nStart it:    {self.done.start}")
        if self._deciding.is_root:
            self.say(f"As service:  {INSTALL}")
        self.say(f"Watch it:    {command} status; {command} queue list")

    def _tell_of_the_unit(self, text: str) -> None:
        """Writes it where it is wished, else shows it."""
        path, self.done.unit = self._given.unit, text
        asks = path is None and self._given.is_asked and SYSTEMD.is_dir()
        if asks and click.confirm(f"Write the systemd unit to {UNIT_FILE}?", default=True):
            path = UNIT_FILE
        if path is not None:
            self._write_one(path.absolute(), text, FOR_ALL, None)
            return
        self.say(f"\nThe systemd unit, for {UNIT_FILE} (--unit FILE writes it):\n")
        for line in text.splitlines():
            self.say(f"    {line}")


def _says(path: Path, text: str) -> bool:
    """Whether this very file is there."""
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _known(name: str) -> Owner | None:
    """The user of this name, if there is one."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Owner(entry.pw_uid, entry.pw_gid)


def _today() -> str:
    return time.strftime("%Y-%m-%d")
