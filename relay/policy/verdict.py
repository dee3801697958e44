"""What a rule says: accepted or refused, and which rule it was.

A verdict always names the rule that decided and its place, since ``relay explain`` shows them.  A
refusal for trouble of our own is a 4yz; the sender must not bounce mail for our mistake.
"""

from __future__ import annotations

from relay.message.envelope import Recipient
from relay.message.reply import Reply
from relay.message.value import value


@value(frozen=True, slots=True)
class Accepted:
    """It may pass.

    reply       what the client is told
    rule        what let it in, in words: ``accept.networks: 192.168.0.0/16``
    place       where that stands: ``relay.yaml:12`` or the key of the configuration
    recipients  for a recipient: where its mail goes, after forwarding; never empty then
    expanded    for a recipient that became several and whose sender asked to hear of success: that recipient,
                for which an "expanded" report is owed (RFC 3461 §5.2.7.3 c)
    """

    reply: Reply
    rule: str
    place: str
    recipients: tuple[Recipient, ...] = ()
    expanded: Recipient | None = None


@value(frozen=True, slots=True)
class Refused:
    """It may not pass.  ``reply`` tells the client; rule and place as in Accepted."""

    reply: Reply
    rule: str
    place: str


Verdict = Accepted | Refused
