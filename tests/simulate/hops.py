"""Next hops: hosts that take mail, each by its mood of the hour, and write down what they really took.

A mood holds for a while and then changes.  Whatever a hop does, the world's ledger is told the truth: when the
message was taken, whatever was said about it afterwards.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionRefusedError

from relay.testing import certificates
from relay.testing.conversation import Conversation
from tests.simulate.ledger import key_of

if TYPE_CHECKING:
    from tests.simulate.world import World

MOODS = (
    "kind",  # takes everything
    "down",  # refuses connections
    "away",  # nothing ever answers
    "greylist",  # 451 to whom it does not know
    "busy",  # 421, anywhere
    "strict",  # 5yz to some recipients, and to some contents
    "unsure",  # 4yz to some recipients, and to some contents
    "drop",  # hangs up somewhere
    "drop after the dot",  # takes the message and hangs up
    "tarpit",  # answers after half a minute or so
    "silent",  # stops answering somewhere
    "garbage",  # says what is no reply, somewhere
    "half a reply",  # hangs up in the middle of a reply
)
TLS_MOODS = (
    "fine",  # as it should be
    "stripped",  # somebody has taken STARTTLS out of what it offers
    "454",  # offered, and refused
    "silence",  # 220, and nothing more
    "noise",  # 220, and then what is no TLS
    "close",  # 220, and hangs up
    "reset",  # likewise, but not in order
    "injection",  # 220, and in the same segment one reply too many (the hop's side of CVE-2011-0411)
    "old",  # speaks what nobody should speak any more
    "cut",  # the handshake breaks off
    "impostor",  # somebody else's certificate
)
BROKEN_AT_ONCE = ("454", "noise", "close", "reset", "injection", "old")
"""Those after which it is clear at once that there will be no TLS."""
_SAYINGS = (b"\x00\xff garbage\r\n", b"250\x01\r\n", b"hello\r\n", b"999 no\r\n", b"2" * 5000 + b"\r\n")


class Host:
    """A next hop.

    lane        the destination it serves
    extensions  what it offers; None: it knows only HELO
    is_kind     it never has a mood
    tls         the kind of its certificate (certificates.server); empty: it has no TLS
    tls_mood    what TLS is like with it just now
    has_logins  it takes mail only from those who log in
    """

    def __init__(
        self,
        world: World,
        name: str,
        address: str,
        lane: str,
        chance: Random,
        *,
        lmtp: bool = False,
        is_kind: bool,
        tls: str = "",
        has_logins: bool = False,
    ) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.lane = lane
        self.chance = chance
        self.lmtp = lmtp
        self.is_kind = is_kind
        self.mood = "kind"
        self.tls = tls
        self.tls_mood = "fine"
        self.has_logins = has_logins
        self.has_new_password = False  # and has not told us
        self.extensions = self._some_extensions()
        self._seen: dict[tuple[str, str], float] = {}
        self._mood_until = 0.0

    def answer(self) -> Any:
        """What happens to one who dials; see Network."""
        self._consider()
        if self.mood == "down":
            return ConnectionRefusedError()
        if self.mood == "away":
            return None
        return HopSession(self)

    def knows(self, sender: str, recipient: str) -> bool:
        """Whether a greylist lets this pair pass by now."""
        now = self.world.clock.now
        return now >= self._seen.setdefault((sender, recipient), now) + 240

    def _some_extensions(self) -> list[str] | None:
        chance = self.chance
        if self.is_kind:
            return ["PIPELINING", "SIZE 1000000", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES"]
        if not self.lmtp and not self.tls and chance.random() < 0.1:
            return None
        possible = ["PIPELINING", "SIZE 1000000", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING"]
        return [one for one in possible if chance.random() < 0.7]

    def _consider(self) -> None:
        now = self.world.clock.now
        if now < self._mood_until and not self.world.is_kind:
            return
        self._mood_until = now + self.chance.expovariate(1 / 2400)
        bad = not (self.is_kind or self.world.is_kind) and self.chance.random() < self.world.climate.bad_hours
        self.mood = self.chance.choice(MOODS[1:]) if bad else "kind"
        if self.tls and not self.is_kind:
            bad = not self.world.is_kind and self.chance.random() < self.world.climate.bad_tls
            self.tls_mood = self.chance.choice(TLS_MOODS[1:]) if bad else "fine"
            self.has_new_password = self.has_logins and bad and self.chance.random() < 0.2


class ShyHost(Host):
    """One that always is well, but for its TLS, which never comes about."""

    def answer(self) -> Any:
        self.tls_mood = self.chance.choice(BROKEN_AT_ONCE)
        return HopSession(self)


class HopSession(Conversation):
    """One conversation with a host, which answers by its mood.

    secured  the kind of certificate under which it is within TLS, empty while it is not
    """

    def __init__(self, host: Host) -> None:
        super().__init__(host.world.clock, lmtp=host.lmtp)
        self.host = host
        self.mood = host.mood
        self.chance = host.chance
        self._replies = 0
        # Where a mood that strikes once strikes: at the so-manieth reply of the session.
        self._strikes_at = host.chance.randint(0, 7)
        self._late = 0.0
        self.tls_mood = host.tls_mood
        self.secured = ""
        self._is_known = not host.has_logins

    # -- what to answer -------------------------------------------------------------------------

    def extensions(self) -> list[str] | None:
        extensions = self.host.extensions
        if extensions is None:
            return None
        extensions = list(extensions)
        if self.host.tls and not self.secured and self.tls_mood != "stripped":
            extensions.append("STARTTLS")
        if self.host.has_logins:
            extensions.append("AUTH PLAIN")
        return extensions

    def command(self, verb: str, argument: str) -> None:
        if verb == "STARTTLS":
            self._secure()
        elif verb == "AUTH":
            self._log_in()
        else:
            super().command(verb, argument)

    def _secure(self) -> None:
        mood = self.tls_mood
        if mood == "454":
            self.say("STARTTLS", "454 4.7.0 not now")
            return
        more = "\r\n250 2.0.0 and this" if mood == "injection" else ""
        if not self.say("STARTTLS", "220 2.0.0 go ahead" + more):
            return
        if self.transport is None or mood in ("silence", "injection"):
            self.is_deaf = True
        elif mood == "noise":
            self.is_deaf = True
            self.write(b"\x15\x03\x01 this is no TLS\r\n" * 20)
        elif mood == "close":
            self.hang_up()
        elif mood == "reset":
            self.transport.abortConnection()
        else:
            kind = {"old": "old", "impostor": "unknown"}.get(mood, self.host.tls)
            self.secured = kind
            self.begin_tls(certificates.server(self.host.name, kind))
            if mood == "cut":
                self.clock.callLater(self.chance.random(), self._cut)

    def _cut(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()

    def _log_in(self) -> None:
        self.host.world.laws.password_told(self.host, self.secured)
        if self.host.has_new_password:
            self.say("AUTH", "535 5.7.8 not with this password")
        elif self.say("AUTH", "235 2.7.0 welcome"):
            self._is_known = True

    def mail(self, argument: str) -> None:
        if self._is_known:
            super().mail(argument)
        else:
            self.say("MAIL", "530 5.7.0 who are you?")

    def data(self) -> bool:
        super().data()
        return bool(self.recipients)

    def recipient(self, address: str) -> None:
        world, mood = self.host.world, self.mood
        key = key_of(address)
        world.offered(self.host, self.sender, address)
        reply = "250 2.1.5 ok"
        if mood == "greylist" and not self.host.knows(self.sender, address):
            reply = "451 4.7.1 greylisted, come again"
        elif mood == "strict" and self.chance.random() < 0.3:
            reply = self.chance.choice(("550 5.1.1 no such user", "553 5.1.3 bad address", "551 5.7.1 not here"))
        elif mood == "unsure" and self.chance.random() < 0.3:
            reply = self.chance.choice(("450 4.2.0 mailbox busy", "452 4.5.3 too many", "451 4.3.0 local error"))
        if self.say("RCPT", reply) and reply.startswith("2"):
            self.recipients.append(address)
        elif key is not None and reply.startswith("5"):
            world.ledger.fate(key).refused = True

    def content(self, content: bytes) -> None:
        """It is taken or refused, for all or (LMTP) one by one, and then it is said, or not."""
        recipients, self.recipients = self.recipients, []
        for group in [[one] for one in recipients] if self.host.lmtp else [recipients]:
            reply = "250 2.0.0 taken"
            if self.mood == "strict" and self.chance.random() < 0.2:
                reply = "554 5.6.0 not this content"
            elif self.mood == "unsure" and self.chance.random() < 0.3:
                reply = "451 4.3.0 cannot store it now"
            elif self.mood == "busy" and self._replies >= self._strikes_at:
                reply = "421 4.3.2 busy, come later"  # not taken, and that is what it will say
            if reply.startswith("2"):
                self.host.world.took(self, group, content)
            elif reply.startswith("5"):
                for key in filter(None, map(key_of, group)):
                    self.host.world.ledger.fate(key).refused = True
            if self.mood == "drop after the dot" and self.chance.random() < 0.7:
                self.hang_up()
                return
            self.say("END", reply)

    # -- answering ------------------------------------------------------------------------------

    def say(self, step: str, reply: str) -> str:
        """Answers, as far as the mood lets it."""
        if self.transport is None or self.is_deaf:
            return ""
        data = reply.encode() + b"\r\n"
        self._replies += 1
        if self._replies > self._strikes_at and not self._strike(data):
            return ""
        if self.mood == "tarpit":
            # Each reply waits behind the one before.
            now = self.clock.seconds()
            self._late = max(self._late, now) + self.chance.random() * 60
            self.clock.callLater(self._late - now, self.write, data)
        else:
            self.write(data)
        return reply[:1]

    def _strike(self, data: bytes) -> bool:
        """What a mood does that strikes once in a session; whether the reply is still given."""
        match self.mood:
            case "busy":
                self.write(b"421 4.3.2 busy, come later\r\n")
                self.hang_up()
            case "drop":
                self.hang_up()
            case "silent":
                self.is_deaf = True
            case "garbage":
                self.write(self.chance.choice(_SAYINGS))
                self.is_deaf = self.chance.random() < 0.5
            case "half a reply":
                self.write(data[: len(data) // 2])
                self.hang_up()
            case _:
                return True
        return False
