"""A relay with something going on, as its control socket tells it: for looking at the pages, and for testing them.

    python -m tests.operate.web.scene PORT [TOKEN_FILE]

serves them to a browser.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from relay.operate.answers.destinations import awaited
from relay.operate.asking import Refusal
from relay.queue.ids import to_text
from relay.route.table import RouteTable
from relay.route.via import leads_to
from tests.fakes.inquirer import FakeInquirer, Row

HOUR = 3600.0
GREYLISTED = "451 4.7.1 <{0}>: Recipient address rejected: Greylisted, see https://postgrey.example/help/{1}.html"
FULL = "452 4.2.2 <{0}>: Mailbox is over its quota; the owner was told (in reply to RCPT TO)"
DOWN = "no connection to mx1.shop.example [203.0.113.25]: connection timed out"
TLS = "mx.bank.example [198.51.100.7] offers no STARTTLS, and the route requires it (relay.yaml:41)"

DESTINATIONS = (
    ("mx:shop.example", 1480, 0, 4, DOWN, 11),
    ("smtp:[smtp.provider.example]:587", 212, 18, 20, "", 0),
    ("mx:gmail.example", 64, 6, 12, "", 0),
    ("mx:bank.example", 17, 0, 2, TLS, 5),
    ("lmtp:[10.0.0.5]:24", 6, 2, 10, "", 0),
    ("mx:universität.example", 3, 1, 4, GREYLISTED.format("rektor@universität.example", "x"), 1),
)

SENDERS = ("rechnung@werkstatt.example", "noreply@shop.example", "printer@lan.example", "ann@example.org", "<>")
NAMES = ("bob", "carla.gómez", "dieter", "e.fontaine", "office+orders", "ops", "sales", "zoë")


@dataclass
class Scene:
    """Everything that is asked gets an answer that fits all others.

    now  seconds since the epoch
    """

    now: float
    chance: Random = field(default_factory=lambda: Random(7))
    silent: list[int] = field(default_factory=list)
    complaints: list[Row] = field(default_factory=list)
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = list(self._queue())

    def inquirer(self) -> FakeInquirer:
        return FakeInquirer(
            {
                "status": self.status,
                "history": self.history,
                "health": self.health,
                "queue.list": self.list,
                "queue.ages": self.ages,
                "queue.show": self.show,
                "config": self.config,
                "log.tail": self.log,
                "trace.find": self.found,
                "trace.show": self.journey,
                "forecast": self.forecast,
                "destination.named": self.named,
                "destination.awaited": self.awaited,
                "explain": self.explain,
                "explain.message": self.explain,
                **{f"queue.{change}": self.changed for change in ("hold", "release", "retry", "remove", "flush")},
                **{f"destination.{change}": self.changed for change in ("rest", "wake")},
            }
        )

    def status(self) -> Iterable[Row]:
        states = [row["state"] for row in self.rows]
        yield {
            "version": "0.1.0",
            "hostname": "gateway.example.org",
            "pid": 4711,
            "started_at": self.now - 9.3 * 86400,
            "uptime_s": 9.3 * 86400,
            "queue": {
                "messages": len({row["id"] for row in self.rows}),
                "octets": sum(row["size"] for row in self.rows),
                "recipients": {state: states.count(state) for state in ("waiting", "held", "owing")},
                "oldest_at": min((row["accepted_at"] for row in self.rows), default=None),
                "set_aside": 0,
            },
            "destinations": [
                {
                    "destination": lane,
                    "waiting": waiting,
                    "in_flight": in_flight,
                    "window": window,
                    "resting_until": self.now + 780 if failures > 1 else None,
                    "failures": failures,
                    "error": error,
                }
                for lane, waiting, in_flight, window, error, failures in DESTINATIONS
            ]
            + [{"destination": "mx:asleep.example", "waiting": 1, "in_flight": 0}]
            if self.rows
            else [],
            "steps": {"accepted": 81233, "delivered": 79120, "trouble": 0},
            "workers": [
                {"shard": shard, "pid": 4711 + shard, "uptime_s": 9.3 * 86400, "messages": 871 + 40 * shard}
                for shard in (0, 1)
                if shard not in self.silent
            ],
            "silent": self.silent,
        }

    def health(self) -> Iterable[Row]:
        yield {"complaints": self.complaints, "silent": self.silent}

    def history(self) -> Iterable[Row]:
        chance = Random(3)
        waves = [60 + 34 * math.sin(minute / 7) + chance.randrange(22) for minute in range(60)]
        yield {
            "every_s": 60,
            "from_at": self.now - 59 * 60,
            "now_at": self.now,
            "steps": {
                "accepted": [int(wave) for wave in waves],
                "delivered": [int(wave * 0.92) + chance.randrange(4) for wave in waves],
                "deferred": [chance.randrange(9) + (26 if 30 < minute < 41 else 0) for minute in range(60)],
                "failed": [chance.randrange(3) for _ in range(60)],
            }
            if self.rows
            else {},
        }

    def _queue(self) -> Iterator[Row]:
        chance = self.chance
        ages = sorted((chance.expovariate(1 / (3 * HOUR)) for _ in range(128)), reverse=True)
        for number, age in enumerate(ages):
            at = self.now - age
            lane, _, _, _, error, _ = chance.choices(DESTINATIONS, weights=(9, 3, 3, 2, 1, 1))[0]
            domain = lane.partition(":")[2].strip("[]").partition("]")[0]
            message = to_text(int(at * 1_000_000) << 8)
            for _ in range(chance.choice((1, 1, 1, 2, 3, 12))):
                recipient = f"{chance.choice(NAMES)}@{domain}"
                held = number % 17 == 4
                yield {
                    "id": message,
                    "sender": SENDERS[number % len(SENDERS)],
                    "recipient": recipient,
                    "state": "held" if held else "waiting",
                    "destination": lane,
                    "accepted_at": at,
                    "next_at": None if held else self.now + chance.random() * 1800,
                    "attempts": 0 if age < 300 else 1 + int(age // 1200),
                    "size": 900 + int(chance.paretovariate(0.9) * 2500) % 9_000_000,
                    "error": "held by the operator" if held else "" if age < 300 else error or FULL.format(recipient),
                }

    def list(self, after: str = "", newest_first: bool = False, **wanted: str) -> Iterable[Row]:
        domain, lanes = wanted.pop("domain", None), wanted.pop("destinations", None)
        for row in self.rows[:: -1 if newest_first else 1]:
            fits = all(row[name] == value for name, value in wanted.items() if name != "ids")
            fits = fits and (lanes is None or row["destination"] in lanes)
            is_beyond = not after or (row["id"] < after if newest_first else row["id"] > after)
            if is_beyond and fits and (domain is None or row["recipient"].endswith("@" + domain)):
                yield row

    def named(self, destination: str) -> Iterable[Row]:
        lanes = {row["destination"] for row in self.rows if leads_to(row["destination"], destination)}
        yield {"destination": destination, "destinations": sorted(lanes)}

    def awaited(self, destination: str) -> Iterable[Row]:
        yield {"destination": destination, "destinations": sorted(awaited(RouteTable(), destination))}

    def ages(self) -> Iterable[Row]:
        edges = [0, 300, 3600, 4 * HOUR, 24 * HOUR, 72 * HOUR, math.inf]
        ages = [self.now - row["accepted_at"] for row in self.rows]
        yield {
            "ages": [
                {
                    "from_s": edge,
                    "below_s": None if below == math.inf else below,
                    "recipients": sum(edge <= age < below for age in ages),
                }
                for edge, below in pairwise(edges)
            ],
            "at_least": False,
        }

    def forecast(self, now: float, for_s: float, down: Iterable[str] = (), up: Iterable[str] = ()) -> Iterable[Row]:
        spans = 72
        left = [int(1 + 127 * math.exp(-span / 22)) for span in range(spans)]
        yield {
            "from_at": now,
            "every_s": for_s / spans,
            "events": {
                "tried": [max(0, 40 - span) for span in range(spans)],
                "delivered": [max(0, 9 - span // 3) for span in range(spans)],
                "warned": [6 if span == 4 else 0 for span in range(spans)],
                "bounced": [3 if span > 66 else 0 for span in range(spans)],
                "held": [0] * spans,
                "dropped": [0] * spans,
            },
            "messages": left,
            "octets": [one * 190_000 for one in left],
            "destinations": [
                {
                    "destination": lane,
                    "stands": "down" if failures > 1 or lane.partition(":")[2] in down else "well",
                    "recipients": waiting,
                    "next_at": self.now + 780,
                    "warned": waiting if failures > 1 else 0,
                    "bounced": waiting // 2 if failures > 1 else 0,
                    "first_bounce_at": self.now + 2.7 * 86400 if failures > 1 else None,
                    "last_bounce_at": None,
                }
                for lane, waiting, _, _, _, failures in DESTINATIONS
            ]
            if self.rows
            else [],
            "bounces": [
                {
                    "at": self.now + 2.7 * 86400 + number * 311,
                    **{name: row[name] for name in ("id", "sender", "recipient", "destination")},
                }
                for number, row in enumerate(self.rows[:5])
            ],
        }

    def changed(self, **fields: object) -> Iterable[Row]:
        yield {"changed": len(fields.get("ids", ())) or 1}  # type: ignore[arg-type]

    def show(self, id: str) -> Iterable[Row]:
        rows = [row for row in self.rows if row["id"] == id]
        if not rows:
            raise Refusal(f"there is no message {id} in the queue; it may have been delivered meanwhile", "request")
        first = rows[0]
        yield {
            **{name: first[name] for name in ("id", "sender", "accepted_at", "size")},
            "body": "8BITMIME",
            "smtputf8": False,
            "ret": "HDRS",
            "envid": None,
            "client": "192.168.1.20",
            "client_name": "printer.lan.example",
            "helo": "printer",
            "protocol": "ESMTPS",
            "login": "printer",
            "recipients": [
                {
                    **{
                        name: row[name]
                        for name in ("recipient", "state", "destination", "next_at", "attempts", "error")
                    },
                    "orcpt": f"rfc822;{row['recipient']}",
                    "notify": ["FAILURE", "DELAY"],
                    "warned": False,
                }
                for row in rows
            ],
            "header": HEADER.format(sender=first["sender"], recipient=first["recipient"], id=id),
        }

    def config(self) -> Iterable[Row]:
        yield CONFIG

    def log(self, lines: int = 100, level: str = "debug", follow: bool = False) -> Iterable[Row]:
        chance = Random(5)
        steps: list[tuple[str, str]] = [("info", "accepted"), ("info", "delivered"), ("info", "deferred")]
        for number in range(60, 0, -1):
            at = self.now - number * 1.7
            level_of, step = chance.choice(steps)
            row: Row = {"at": at, "level": level_of, "step": step, "id": to_text(int(at * 1e6) << 8)}
            if step == "accepted":
                row |= {"client": "192.168.1.20", "sender": SENDERS[number % 4], "recipients": 1, "size": 4711}
            else:
                row |= {"recipient": "bob@shop.example", "hop": "mx1.shop.example [203.0.113.25]"}
                row["reply"] = "250 2.0.0 Ok: queued as 4F1A" if step == "delivered" else DOWN
            if number == 12:
                row = {"at": at, "level": "warning", "step": "rested", "destination": "mx:shop.example", "error": DOWN}
            if number == 31:
                row = {"at": at, "level": "error", "step": "trouble", "place": "relay.yaml:12", "error": "disk is full"}
            if {"debug": 0, "info": 1, "warning": 2, "error": 3}[str(row["level"])] >= {
                "debug": 0,
                "info": 1,
                "warning": 2,
                "error": 3,
            }[level]:
                yield row

    def explain(self, probe: bool = False, **fields: object) -> Iterable[Row]:
        recipients = [str(one) for one in fields.get("recipients", ["bob@shop.example"])]  # type: ignore[attr-defined]
        yield finding("in", "configuration", "relay.yaml", details={"running": True}, place="/etc/relay/relay.yaml")
        yield finding(
            "in",
            "listener",
            "tcp:25",
            place="/etc/relay/relay.yaml:18",
            details={"service": "relay", "tls": True, "login": "offered"},
        )
        yield finding(
            "in",
            "connection",
            "192.168.1.20",
            "accepted",
            rule="accept.networks: 192.168.0.0/16",
            place="/etc/relay/relay.yaml:22",
            reply="220 gateway.example.org Simple Mail Transfer Service Ready",
            details={
                "trusted": True,
                "connections": 1,
                "connections_limit": 2000,
                "of_client": None,
                "of_client_limit": 50,
            },
        )
        yield finding("in", "sender", "printer@lan.example", "accepted", reply="250 2.1.0 OK")
        for recipient in recipients:
            if recipient.startswith("nobody@"):
                yield finding(
                    "in",
                    "recipient",
                    recipient,
                    "refused",
                    rule="accept.recipients",
                    place="/etc/relay/recipients",
                    reply="550 5.1.1 No such mailbox here",
                    remedy=f"add {recipient} to /etc/relay/recipients",
                )
            else:
                yield finding(
                    "in", "recipient", recipient, "accepted", reply="250 2.1.5 OK", details={"to": [recipient]}
                )
        details = {"recipients": recipients, "destination": "mx:shop.example", "via": "mx:shop.example"}
        yield finding("out", "route", "1 recipient", "accepted", rule="by MX", details=details)
        yield finding(
            "out",
            "destination",
            "mx:shop.example",
            details={
                "is_known": True,
                "window": 4,
                "in_flight": 0,
                "waiting": 1480,
                "resting_until": self.now + 780,
                "failures": 11,
                "error": DOWN,
            },
        )
        refused = next((one for one in recipients if one.startswith("nobody@")), None)
        if refused is None:
            yield finding("end", "verdict", "", "accepted")
        else:
            yield finding(
                "end",
                "verdict",
                refused,
                "refused",
                remedy=f"add {refused} to /etc/relay/recipients",
                details={"at": "recipient"},
            )

    def found(self, **wanted: object) -> Iterable[Row]:
        states = ("delivered", "delivered", "failed", "queued", "delivered", "refused", "mixed", "held", "removed")
        for number in range(24):
            at = self.now - 40 - number * 611
            state = states[number % len(states)]
            recipients = [f"{NAMES[number % len(NAMES)]}@shop.example"]
            yield {
                "id": to_text(int(at * 1e6) << 8),
                "at": at,
                "sender": SENDERS[number % len(SENDERS)],
                "recipients": recipients,
                "recipient_count": 1 if number % 4 else 31,
                "client": "192.168.1.20",
                "message_id": f"<{number}.2026@printer.lan.example>",
                "size": 4000 + number * 977,
                "state": state,
                "last_at": at + 3,
                "last": "250 2.0.0 Ok: queued as 4F1A" if state == "delivered" else DOWN,
            }

    def journey(self, id: str) -> Iterable[Row]:
        at = self.now - 3 * HOUR
        yield {
            "at": at,
            "step": "accepted",
            "client": "192.168.1.20",
            "client_name": "printer.lan.example",
            "helo": "printer",
            "protocol": "ESMTPS",
            "login": "printer",
            "listener": "tcp:587",
            "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
            "sender": "rechnung@werkstatt.example",
            "size": 48113,
            "message_id": "<20261103.1@printer.lan.example>",
            "checks": [
                {"what": "client", "rule": "accept.networks: 192.168.0.0/16", "place": "relay.yaml:22"},
                {"what": "sender", "rule": "accept.users", "place": "/etc/relay/users:3"},
            ],
            "recipients": [
                {
                    "named": "verkauf@example.org",
                    "reply": "250 2.1.5 Ok",
                    "rule": "forward",
                    "place": "relay.yaml:30",
                    "to": ["bob@shop.example", "carla.gómez@shop.example"],
                    "notify": None,
                    "orcpt": None,
                }
            ],
            "report_of": "",
        }
        for number, after in enumerate((1, 75, 260)):
            yield {
                "began_at": at + after,
                "at": at + after + 30.2,
                "step": "attempted",
                "destination": "mx:shop.example",
                "rule": "by MX",
                "hop": "mx1.shop.example [203.0.113.25]",
                "tls": "",
                "recipients": [
                    {
                        "number": 0,
                        "recipient": "bob@shop.example",
                        "step": "deferred",
                        "reply": DOWN,
                        "hop": "mx1.shop.example [203.0.113.25]",
                        "next_at": at + after + 300,
                    }
                ],
                "dialogue": [
                    {
                        "hop": "mx1.shop.example [203.0.113.25]",
                        "lines": [[0.0, "* connecting"], [30.0, "* connection timed out"]],
                    }
                ]
                if number < 2
                else [
                    {
                        "hop": "mx2.shop.example [203.0.113.26]",
                        "lines": [
                            [0.0, "* connected"],
                            [0.061, "< 220 mx2.shop.example ESMTP"],
                            [0.061, "> EHLO gateway.example.org"],
                            [0.102, "< 250-mx2.shop.example"],
                            [0.102, "< 250-STARTTLS"],
                            [0.102, "< 250 PIPELINING"],
                            [0.103, "> MAIL FROM:<rechnung@werkstatt.example>"],
                            [0.103, "> RCPT TO:<bob@shop.example>"],
                            [0.151, "< 250 2.1.0 Ok"],
                            [0.151, "< 451 4.7.1 Greylisted, try again in 300 seconds"],
                            [0.152, "> QUIT"],
                        ],
                    }
                ],
            }
        yield {"at": at + 400, "step": "held", "by": "control", "why": "held by the operator", "numbers": [0]}
        yield {"at": at + 900, "step": "released", "by": "control", "numbers": [0]}
        yield {"at": at + 899, "step": "reported", "report": "cr8zj93hxf00", "to": ["ann@example.org"], "numbers": [0]}
        yield {
            "began_at": at + 901,
            "at": at + 903.4,
            "step": "attempted",
            "destination": "mx:shop.example",
            "rule": "by MX",
            "hop": "mx2.shop.example [203.0.113.26]",
            "tls": "TLSv1.3, verified by DANE",
            "recipients": [
                {
                    "number": 0,
                    "recipient": "bob@shop.example",
                    "step": "delivered",
                    "reply": "250 2.0.0 Ok: queued as 4F1A",
                    "hop": "mx2.shop.example [203.0.113.26]",
                }
            ],
            "dialogue": [],
        }


def finding(part: str, what: str, about: str, decision: str = "told", **said: object) -> Row:
    """As relay.operate.explaining.finding tells it."""
    return {
        "part": part,
        "what": what,
        "about": about,
        "decision": decision,
        **dict.fromkeys(("rule", "place", "reply", "remedy"), ""),
        "details": {},
        **said,
    }


HEADER = """\
Received: from printer (printer.lan.example [192.168.1.20])
\tby gateway.example.org (relay) with ESMTPSA id {id}
\tfor <{recipient}>; Tue, 03 Nov 2026 09:51:39 +0000
Date: Tue, 03 Nov 2026 10:51:38 +0100
From: Werkstatt <{sender}>
To: {recipient}
Subject: =?utf-8?q?Rechnung_2026-1103_=E2=80=93_f=C3=A4llig_am_17=2E?=
Message-ID: <20261103.1@printer.lan.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_1"
"""

CONFIG: dict[str, Any] = {
    "source": "/etc/relay/relay.yaml",
    "settings": {
        "hostname": "gateway.example.org",
        "spool": "/var/spool/relay",
        "workers": 2,
        "listen": [
            {"endpoint": "tcp:25", "service": "relay", "tls": "offered"},
            {"endpoint": "tcp:587", "service": "submission", "tls": "required"},
        ],
        "accept": {
            "networks": ["127.0.0.0/8", "::1/128", "192.168.0.0/16"],
            "domains": ["example.org"],
            "message_size": "50 MiB",
            "users": "/etc/relay/users",
        },
        "forward": {"verkauf@example.org": {"to": ["bob@shop.example", "carla.gómez@shop.example"]}},
        "routes": [
            {"to": "example.org", "via": "lmtp://10.0.0.5:24"},
            {"to": "*", "via": "smtp://smtp.provider.example"},
        ],
        "retry": {"first": "1m", "factor": 2.0, "longest": "1h", "warn_after": "4h", "give_up_after": "5d"},
        "log": {"format": "text", "file": None, "level": "info"},
    },
    "places": {
        "hostname": "/etc/relay/relay.yaml:10",
        "spool": "/etc/relay/relay.yaml:11",
        "workers": "/etc/relay/relay.yaml:15",
        "listen": "/etc/relay/relay.yaml:17",
        "listen[0]": "/etc/relay/relay.yaml:18",
        "listen[0].endpoint": "/etc/relay/relay.yaml:18",
        "listen[1].endpoint": "/etc/relay/relay.yaml:19",
        "accept.networks": "/etc/relay/relay.yaml:22",
        "accept.domains": "/etc/relay/relay.yaml:23",
        "forward.verkauf@example.org": "/etc/relay/relay.yaml:30",
        "routes[0].via": "/etc/relay/relay.yaml:40",
    },
    "warnings": [
        {
            "place": "/etc/relay/relay.yaml:40:5",
            "key": "routes[0]",
            "what": "matches everything, so that no route after it is ever used; move it to the end",
        }
    ],
    "faults": [
        {
            "place": "/etc/relay/relay.yaml:23:12",
            "key": "accept.domains",
            "what": '"example.org" is not a list; write [one, two], or one a line with a - in front',
        },
        {"place": "/etc/relay/relay.yaml:52:1", "key": "retri", "what": 'unknown key; did you mean "retry"?'},
    ],
    "reload": [],
    "restart": [],
}


def main() -> None:
    """Serves the scene."""
    from twisted.internet import reactor

    from relay.operate.config import Config
    from relay.operate.web.opening import Front

    admin = {"token_file": sys.argv[2]} if len(sys.argv) > 2 else {}
    config = Config.model_validate({"hostname": "gateway.example.org", "admin": admin, "workers": 2})
    scene = Scene(reactor.seconds())
    front = Front(lambda: config, scene.inquirer(), reactor, lambda step, **fields: None)
    reactor.listenTCP(int(sys.argv[1]), front.site, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()
