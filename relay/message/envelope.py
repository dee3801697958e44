"""The message and its envelope: who sent it, who shall get it, what the sender wishes to hear of it.

Sources: RFC 5321 §2.3.1, RFC 3461 (DSN), RFC 6152 and RFC 3030 (body types), RFC 6531 (SMTPUTF8).
"""

from __future__ import annotations

import enum

from relay.message.address import Address
from relay.message.value import value


class Notify(enum.IntFlag):
    """Of which outcomes the sender wants a report (RFC 3461 §4.1).  NEVER excludes the others."""

    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8


class Ret(enum.Enum):
    """How much of the message a failure report gives back (RFC 3461 §4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


class Body(enum.Enum):
    """What the sender declared its content to be (RFC 6152 §2, RFC 3030 §3)."""

    SEVENBIT = "7BIT"
    EIGHTBIT = "8BITMIME"
    BINARY = "BINARYMIME"


@value(frozen=True, slots=True)
class Recipient:
    """One recipient of a message.

    address  where it goes now, after forwarding
    notify   None when the sender said nothing: then failure and delay are reported (RFC 3461 §4.1)
    orcpt    the original recipient as ``type;address``, xtext decoded (RFC 3461 §4.2); None when
             the sender gave none and the address was not changed by us
    orcpt_is_ours  the sender gave none: it is the address that he used, for the next hop and not for our own
                   reports (RFC 3461 §5.2.1, §6.3 d)
    """

    address: Address
    notify: Notify | None = None
    orcpt: str | None = None
    orcpt_is_ours: bool = False


@value(frozen=True, slots=True)
class Envelope:
    """What stands on the envelope beside the recipients.

    reverse_path  None is the null sender ``<>``: nobody is told of an outcome (RFC 5321 §4.5.5)
    envid         the sender's own name for this message, xtext decoded (RFC 3461 §4.4)
    auth          who submitted it, ``<>`` or a mailbox, as somebody told whom we trust (RFC 4954 §5); None when
                  nobody did
    require_tls   it must not go to who does not promise to keep it within TLS (REQUIRETLS, RFC 8689)
    """

    reverse_path: Address | None
    body: Body = Body.SEVENBIT
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    auth: str | None = None
    require_tls: bool = False


@value(frozen=True, slots=True)
class Origin:
    """Where a message came from, for its Received field, the logs and the operator.

    client_ip    textual IP address, an IPv4-mapped one as IPv4; empty for what we wrote ourselves
    client_name  the name that the DNS gives and confirms for it, or ``unknown``
    helo         what the client called itself
    protocol     the ``with`` of RFC 5321 §4.4 and RFC 3848: SMTP, ESMTP, ESMTPS, ESMTPSA, UTF8SMTP, LMTP …
    login        who logged in, if anybody did
    tls          the cipher suite by its registered name, and the version: ``TLS_AES_256_GCM_SHA384 (TLSv1.3)``
    """

    client_ip: str = ""
    client_name: str = "unknown"
    helo: str = ""
    protocol: str = "ESMTP"
    login: str | None = None
    tls: str = ""


@value(frozen=True, slots=True)
class Message:
    """A message in the queue, without its recipients.

    id           its name in the queue
    accepted_at  seconds since the epoch
    head         the trace and other fields that we put in front; goes out before the content
    content      octets as received, or None when it is too large to be carried and is read in pieces
    size         octets of head and content together
    """

    id: str
    envelope: Envelope
    origin: Origin
    accepted_at: float
    head: bytes
    content: bytes | None
    size: int


@value(frozen=True, slots=True)
class Composed:
    """A message that we wrote ourselves (a report), not yet in the queue.

    content  the whole of it, header section and body, lines ending with CRLF
    """

    envelope: Envelope
    recipients: tuple[Recipient, ...]
    content: bytes
