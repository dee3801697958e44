"""What became of one recipient: in one attempt, and in the end.

Every stage uses these words: the deliverer gives an Outcome, the scheduler acts on it, and what
the sender is to be told is kept as a Final until the report is in the queue.
"""

from __future__ import annotations

import enum

from relay.message.reply import Reply
from relay.message.value import value


@value(frozen=True, slots=True)
class Delivered:
    """The next hop has taken responsibility (RFC 5321 §4.2.5, a 2yz reply).

    reply  what the hop said
    hop    the host that said it, as ``name [address]``
    dsn    the hop honours DSN, so that reporting success is its business now; False makes us
           report "relayed" when success was asked for (RFC 3461 §5.2.2)
    final  it is in the recipient's mailbox now, as after LMTP: success is reported as "delivered" (RFC 3461 §5.2.3)
    """

    reply: Reply
    hop: str
    dsn: bool = False
    final: bool = False


@value(frozen=True, slots=True)
class Deferred:
    """Not now: a 4yz reply, trouble on the network, or trouble of our own.

    reply  the hop's words, or ours in the form of a reply
    hop    the host concerned, or empty when none was reached
    whole_destination  the trouble is the destination's and not this recipient's or message's:
                       it could not be reached, or turned the session away; the destination shall rest
    in_doubt  the content was sent whole and no reply came: it may have been delivered (RFC 1047)
    lasting   with whole_destination: who tries again at once gets the same, so it shall rest now and not after some
              more of it; a refused login, which a provider counts against us
    """

    reply: Reply
    hop: str = ""
    whole_destination: bool = False
    in_doubt: bool = False
    lasting: bool = False


@value(frozen=True, slots=True)
class Failed:
    """Never: a 5yz reply, or a finding of ours that no retry can change."""

    reply: Reply
    hop: str = ""


@value(frozen=True, slots=True)
class Held:
    """An operator's or a rule's decision: stays in the queue until it is released."""

    why: str


@value(frozen=True, slots=True)
class Discarded:
    """The configuration says ``discard:``.  It counts as delivered; nobody got it."""

    rule: str


Outcome = Delivered | Deferred | Failed | Held | Discarded


class Action(enum.Enum):
    """What a report says of a recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@value(frozen=True, slots=True)
class Final:
    """What the sender is to be told of a recipient.  It is stored, and survives a crash.

    status  enhanced code, ``5.1.1``
    reply   the words of the peer, or ours, with the code: ``550 5.1.1 No such user here``
    hop     the host concerned, as ``name [address]``, or empty when none was reached
    at      when, seconds since the epoch
    said    the reply line by line as the host said it, ``550-5.1.1 No such`` and ``550 5.1.1 user here``;
            empty when the words are ours
    """

    action: Action
    status: str
    reply: str
    hop: str
    at: float
    said: tuple[str, ...] = ()
