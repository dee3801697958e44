"""The systemd unit of a relay, with its paths filled in.

python -m relay.operate.init.unit > etc/relay.service
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class Places:
    """What a unit names.

    command   relay, as it is to be started: ``/usr/local/bin/relay``
    user      whom it becomes; None: it stays who systemd starts it as
    maildrop  a folder for all users, which systemd makes; None for none
    """

    command: str
    config: PurePath
    spool: PurePath
    user: str | None
    maildrop: PurePath | None

    @property
    def written(self) -> str:
        """Folders that the relay writes to: where its spool is made, and the maildrop."""
        folders = [self.spool.parent, *([self.maildrop.parent] if self.maildrop is not None else [])]
        return " ".join(dict.fromkeys(map(str, folders)))

    @property
    def is_at_home(self) -> bool:
        """Whether any of it is where people live, which the unit otherwise hides from the relay."""
        paths = [
            PurePath(self.command.split()[0]),
            self.config,
            self.spool,
            *([self.maildrop] if self.maildrop else []),
        ]
        return any(path.is_relative_to(home) for path in paths for home in ("/home", "/root"))


SHIPPED = Places(
    "/usr/local/bin/relay",
    PurePath("/etc/relay/relay.yaml"),
    PurePath("/var/spool/relay"),
    "relay",
    PurePath("/var/spool/relay-maildrop"),
)
"""As etc/ has it."""


def text(places: Places) -> str:
    """The unit."""
    maildrop = _MAILDROP.format(user=places.user or "root", maildrop=places.maildrop) if places.maildrop else ""
    return _UNIT.format(
        command=places.command,
        config=places.config,
        maildrop=maildrop,
        written=places.written,
        home="no" if places.is_at_home else "yes",
    )


_MAILDROP = """\
# where programs of this machine leave mail (sendmail.maildrop); what the unit forbids the relay, "+" is allowed to
ExecStartPre=+/usr/bin/install -d -m 3733 -o {user} -g {user} {maildrop}
"""

_UNIT = """\
# systemd unit for relay.  See docs/operations.md.
#
# It starts as root to open the ports below 1024, and becomes the user of relay.yaml (user: relay) before it
# talks to anybody.  With relay.socket systemd opens the ports instead; then root is not needed at all:
#   systemctl edit relay       [Service]  User=relay  and  CapabilityBoundingSet=
#   in relay.yaml              listen: [{{endpoint: "systemd:domain=INET6:name=smtp"}}]

[Unit]
Description=relay, a store-and-forward mail relay
Documentation=https://www.rfc-editor.org/rfc/rfc5321
After=network-online.target nss-lookup.target
Wants=network-online.target

[Service]
Type=notify
ExecStartPre={command} check {config}
{maildrop}ExecStart={command} run --config {config}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5s
# longer than timeouts.shutdown
TimeoutStopSec=60s
# a whole file of recipients and a large spool may take a while to read
TimeoutStartSec=120s
LimitNOFILE=65536
UMask=0077

# the spool is made there; unix sockets belong in /run/relay
ReadWritePaths={written}
RuntimeDirectory=relay

# bind below 1024, become the user, and give it the spool; end workers that do not; nothing else of root's power
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_KILL
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=all
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


if __name__ == "__main__":
    sys.stdout.write(text(SHIPPED))
