"""Who is believed, and what is said to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

from relay.deliver import guard as guards
from relay.deliver.guard import Guard
from relay.deliver.tls import Judgement
from relay.operate.users import file as users
from relay.policy.policy import Policy
from relay.receive import protocol
from relay.route.tls import Level
from relay.smtp.client_events import Encryption
from relay.smtp.server import ServerSession
from tests.simulate.defects import Around, around, breakage


@breakage(has_tls=True, smart_tls="require", bad_tls=0.6)
def tls_lowered_when_it_fails() -> Sequence[Any]:
    """Where TLS is required and fails, the next connection is plain."""

    def ended(original: Around, guard: Any, how: Any) -> bool:
        return original(guard, how) or guard.judgement is None

    return [around(Guard, "ended", ended)]


@breakage(has_tls=True, smart_tls="require", bad_tls=0.6)
def tls_not_required() -> Sequence[Any]:
    """Where TLS is required and not offered, mail goes in plain."""

    def encryption(guard: Any) -> Encryption:
        level = guard.hop.security.level
        return Encryption.NEVER if guard._plain or level is Level.NONE else Encryption.IF_OFFERED

    return [mock.patch.object(Guard, "encryption", property(encryption))]


@breakage(has_tls=True, smart_tls="verify", bad_tls=0.6)
def any_certificate_will_do() -> Sequence[Any]:
    """Whoever shows a certificate is believed to be the hop."""
    return [mock.patch.object(guards, "judge", lambda *args: Judgement(True, by="faith"))]


@breakage(has_tls=True, smart_tls="verify", smart_logins=True, bad_tls=0.6)
def password_for_anybody() -> Sequence[Any]:
    """The hop is told the password before it has proved who it is."""

    def shaken(original: Around, guard: Any, session: Any) -> None:
        level = mock.patch.object(Level, "verifies", property(lambda level: False))
        with level:
            original(guard, session)
        guard.judgement = Judgement(True, by="faith")

    return [around(Guard, "shaken", shaken)]


@breakage(has_tls=True)
def no_way_back_from_tls() -> Sequence[Any]:
    """Where TLS is only an opportunity and fails, the mail has to wait for it."""

    def ended(original: Around, guard: Any, how: Any) -> bool:
        original(guard, how)
        return False

    return [around(Guard, "ended", ended)]


@breakage(has_tls=True)
def handshake_without_end() -> Sequence[Any]:
    """A client that begins TLS and says nothing more is waited for without end."""
    return [mock.patch.object(protocol, "HANDSHAKE_LIMIT_S", float("inf"))]


@breakage(has_tls=True)
def commands_from_before_tls() -> Sequence[Any]:
    """What came behind STARTTLS in the clear is done within TLS (CVE-2011-0411)."""

    def kept(original: Around, session: Any) -> None:
        unread = session._unread.take()
        original(session)
        session.receive_data(unread)

    return [
        mock.patch.object(ServerSession, "_is_followed", lambda session: False),
        around(ServerSession, "tls_started", kept),
    ]


@breakage(has_tls=True)
def any_password_will_do() -> Sequence[Any]:
    """A wrong password is right."""
    return [mock.patch.object(users, "is_right", lambda secret, password: True)]


@breakage(has_tls=True)
def open_relay() -> Sequence[Any]:
    """Strangers may send to anywhere."""

    def trusting(judge: Around, policy: Any, ip: str) -> Any:
        return judge(policy, "192.0.2.1")

    return [around(Policy, "_judge_client", trusting)]
