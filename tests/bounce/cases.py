"""A message, its finals, and a reader of reports that is not ours."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from relay.bounce.notify import Reporter, ReportSettings
from relay.message.address import parse_mailbox
from relay.message.envelope import Composed, Envelope, Message, Notify, Origin, Recipient
from relay.message.outcome import Action, Final

NOW = 1795453800.0  # Mon, 23 Nov 2026 17:10:00 +0000
DAY_S = 86400.0

CONTENT = (
    b"From: Ann <ann@example.org>\r\nSubject: Invoice 4711\r\nMessage-ID: <4711@example.org>\r\n\r\nPlease pay.\r\n"
)
HEAD = b"Received: from pc.example.org by gateway.example.lan; Mon, 23 Nov 2026 17:00:00 +0000\r\n"


def a_message(
    content: bytes | None = CONTENT,
    sender: str | None = "ann@example.org",
    *,
    head: bytes = HEAD,
    size: int | None = None,
    origin: Origin | None = None,
    accepted_at: float = NOW - 600,
    **envelope: object,
) -> Message:
    reverse_path = parse_mailbox(sender) if sender is not None else None
    return Message(
        id="q1",
        envelope=Envelope(reverse_path, **envelope),
        origin=origin or Origin("192.0.2.9", "pc.example.org", "pc.example.org"),
        accepted_at=accepted_at,
        head=head,
        content=content,
        size=len(head) + len(content or b"") if size is None else size,
    )


def told(
    address: str = "bob@example.net",
    action: Action = Action.FAILED,
    status: str = "5.1.1",
    reply: str = "550 5.1.1 No such user here",
    hop: str = "mx.example.net [192.0.2.7]",
    *,
    notify: Notify | None = None,
    orcpt: str | None = None,
    at: float = NOW - 1,
    said: tuple[str, ...] | None = None,
) -> tuple[Recipient, Final]:
    """``said`` is the reply, unless it is given: what has a hop was said by it."""
    if said is None:
        said = (reply,) if hop else ()
    return Recipient(parse_mailbox(address), notify, orcpt), Final(action, status, reply, hop, at, said)


def delayed(address: str = "bob@example.net", **more: object) -> tuple[Recipient, Final]:
    reply = "451 4.4.1 Connection timed out"
    return told(address, Action.DELAYED, "4.4.1", reply, "", **more)


def relayed(address: str = "bob@example.net", action: Action = Action.RELAYED) -> tuple[Recipient, Final]:
    return told(address, action, "2.0.0", "250 2.0.0 OK", notify=Notify.SUCCESS)


def a_reporter(**settings: object) -> Reporter:
    return Reporter(ReportSettings("gateway.example.lan", **settings))


@dataclass(frozen=True)
class Read:
    """A report as a MIME reader sees it."""

    whole: EmailMessage
    text: str
    of_message: dict[str, str]
    of_recipients: list[dict[str, str]]
    original: EmailMessage


def read(report: Composed | str | None) -> Read:
    """The report, read by the standard library; fails when its structure is not that of RFC 6522."""
    assert isinstance(report, Composed)
    return read_octets(report.content)


def read_octets(content: bytes) -> Read:
    whole = message_from_bytes(content, policy=default)
    assert isinstance(whole, EmailMessage)
    assert not list(whole.defects), whole.defects
    assert whole.get_content_type() == "multipart/report"
    assert whole.get_param("report-type") == "delivery-status"
    text, status, original = whole.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert status.get_content_type() in ("message/delivery-status", "message/global-delivery-status")
    groups = _groups(part_octets(content)[1])
    return Read(whole, text.get_content().replace("\r\n", "\n"), groups[0], groups[1:], original)


def part_octets(content: bytes) -> list[bytes]:
    """Header section and body of each part, octet for octet, split as RFC 2046 §5.1.1 says."""
    boundary = message_from_bytes(content, policy=default).get_boundary()
    assert boundary
    _, *parts, after = content.split(b"\r\n--" + boundary.encode())
    assert after == b"--\r\n"
    assert all(part.startswith(b"\r\n") for part in parts)
    return [part[2:] for part in parts]


def _groups(part: bytes) -> list[dict[str, str]]:
    """RFC 3464 §2.1: groups of fields with an empty line before each; read by hand, as the library guesses at UTF-8."""
    text = part.partition(b"\r\n\r\n")[2].decode("utf-8").replace("\r\n ", " ")
    assert text.endswith("\r\n")
    groups = []
    for block in text[:-2].split("\r\n\r\n"):
        fields: dict[str, str] = {}
        for line in block.split("\r\n"):
            name, colon, value = line.partition(": ")
            assert colon and name.replace("-", "").isalpha(), line
            assert name not in fields, f"{name} stands twice"
            fields[name] = value
        groups.append(fields)
    return groups
