"""What is decided: by the options where they say it, by questions where they may be asked, else by defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from relay.operate.cli.speech import EX_USAGE, Stop
from relay.operate.init import lan, questions
from relay.operate.init.plan import Network, Plan, SmartHost, lans_of

SYSTEM_FILE = Path("/etc/relay/relay.yaml")
SYSTEM_SPOOL = Path("/var/spool/relay")
SYSTEM_USER = "relay"
PASSWORD_FILE = "smarthost.password"
PORT_AT_HOME = 2525


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says; None: it is asked for, or the default.

    by_mx       there is no smart host, and none is asked for
    networks    an empty tuple: nobody but this machine
    is_asked    questions may be asked
    tries       the way out is tried, and a test message sent
    unit        where to write the systemd unit
    """

    file: Path | None = None
    smart_host: SmartHost | None = None
    by_mx: bool = False
    login: str | None = None
    password: str | None = None
    password_file: Path | None = None
    authorities: Path | None = None
    networks: tuple[Network, ...] | None = None
    hostname: str | None = None
    postmaster: str | None = None
    listen: tuple[str, ...] = ()
    spool: Path | None = None
    user: str | None = None
    test_to: str | None = None
    is_asked: bool = True
    tries: bool = True
    replaces: bool = False
    unit: Path | None = None


class Deciding:
    """Answers by answers, a plan.

    file      where the configuration is to be
    is_root   it is for the machine; else for the user who runs it
    password  of the smart host, when it is to be written to a file
    """

    def __init__(self, given: Given) -> None:
        self.is_root = os.geteuid() == 0
        self.file = (given.file or (SYSTEM_FILE if self.is_root else Path("relay.yaml"))).absolute()
        self.password = given.password
        self._given = given
        self._spool = (given.spool or (SYSTEM_SPOOL if self.is_root else self.file.parent / "spool")).absolute()

    def plan(self) -> Plan:
        """Raises Stop, click.Abort."""
        host = self._smart_host()
        return replace(self._rest(), smart_host=host)

    def again(self, plan: Plan) -> Plan:
        """The same with another way out, which is asked for."""
        return replace(plan, smart_host=self._asked_smart_host())

    # -- the way out -----------------------------------------------------------------------------

    def _smart_host(self) -> SmartHost | None:
        given = self._given
        if given.smart_host is None:
            return self._asked_smart_host() if given.is_asked and not given.by_mx else None
        host = replace(given.smart_host, authorities=given.authorities)
        if given.login is None:
            return self._with_asked_login(host) if given.is_asked else host
        if self.password is None and given.password_file is None:
            if not given.is_asked:
                raise Stop("a login needs a password: --password-stdin, or --password-file FILE", EX_USAGE)
            self.password = questions.password(given.login)
        return self._logging_in(host, given.login)

    def _asked_smart_host(self) -> SmartHost | None:
        host = questions.smart_host()
        return self._with_asked_login(replace(host, authorities=self._given.authorities)) if host is not None else None

    def _with_asked_login(self, host: SmartHost) -> SmartHost:
        login = questions.login(host)
        if login is None:
            return host
        name, self.password = login
        return self._logging_in(host, name)

    def _logging_in(self, host: SmartHost, login: str) -> SmartHost:
        kept = self._given.password_file if self.password is None else None
        return replace(host, login=login, password=kept or self.file.with_name(PASSWORD_FILE))

    # -- who may send, and who we are --------------------------------------------------------------

    def _rest(self) -> Plan:
        given, found = self._given, lan.networks()
        networks = given.networks
        if networks is None and given.is_asked:
            networks = questions.networks(found)
        if networks is None:
            networks = tuple(one.network for one in found if one.network.is_private)
        if any(network.prefixlen == 0 for network in networks):
            raise Stop("a relay for everybody is used by spammers within hours; name networks of your own", EX_USAGE)
        return Plan(
            given.hostname or (questions.hostname() if given.is_asked else questions.own_name()),
            self._spool,
            given.listen or (self._endpoint(bool(networks)),),
            None,
            lans_of(found, networks),
            given.postmaster or (questions.postmaster() if given.is_asked else None),
            (given.user or SYSTEM_USER) if self.is_root else None,
            self._spool.with_name(f"{self._spool.name}-maildrop") if self.is_root else None,
        )

    def _endpoint(self, for_others: bool) -> str:
        port = 25 if self.is_root else PORT_AT_HOME
        return f"tcp:{port}" if for_others else f"tcp:{port}:interface=127.0.0.1"
