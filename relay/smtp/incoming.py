"""A mail transaction on its way in: what a server must know of it, and whether its content may be kept.

Nothing of the content is held here, but for one CR between two chunks.
"""

from __future__ import annotations

from relay.message import reply
from relay.message.envelope import Body
from relay.message.reply import Reply
from relay.message.transfer import PlainLines, has_bare_line_ends
from relay.smtp.commands import CommandRefused, path_and_rest
from relay.smtp.data import BareLineEnds, with_whole_line_ends
from relay.smtp.events import MailReceived, RecipientReceived
from relay.smtp.extensions import ServerOffer, read_parameters

# RFC 6531 §3.5: 550 where a sender, 553 where a recipient would have to be ASCII.
_SENDER_NEEDS_SMTPUTF8 = Reply(550, reply.NEEDS_SMTPUTF8.enhanced, reply.NEEDS_SMTPUTF8.lines)


def sender_named(offer: ServerOffer, verb: str, argument: str) -> MailReceived:
    """The argument of MAIL, SEND, SOML or SAML.  Raises CommandRefused."""
    path, rest = path_and_rest(argument, "FROM:", reply.BAD_SENDER_SYNTAX)
    named = MailReceived(path, verb, **(read_parameters(rest, offer.mail_parameters) if rest else {}))
    if path is not None and not path.domain:  # <Postmaster> alone is for RCPT only (RFC 5321 §4.1.1.3)
        raise CommandRefused(reply.BAD_SENDER_SYNTAX)
    if named.body is Body.BINARY and "BINARYMIME" not in offer.extensions:
        raise CommandRefused(reply.UNKNOWN_PARAMETER)
    if not (named.smtputf8 or path is None or path.is_ascii):
        raise CommandRefused(_SENDER_NEEDS_SMTPUTF8)
    if offer.message_size_limit and (named.declared_size or 0) > offer.message_size_limit:
        raise CommandRefused(reply.TOO_BIG)
    return named


class Incoming:
    """An open transaction.

    accepted  recipients that were answered 2yz
    tried     recipients were named, whatever the answer
    told      the carrier has this transaction; when not, it has forgotten it or was told to
    size      octets of content kept so far
    held      a CR that ended the last chunk
    refusal   of the chunk that spoiled it
    """

    __slots__ = (
        "_announced",
        "_is_mended",
        "_offer",
        "accepted",
        "body",
        "held",
        "refusal",
        "size",
        "smtputf8",
        "told",
        "tried",
    )

    def __init__(self, offer: ServerOffer, body: Body, smtputf8: bool) -> None:
        self.body = body
        self.smtputf8 = smtputf8
        self.accepted = 0
        self.tried = False
        self.told = True
        self.size = 0
        self.held = b""
        self.refusal: Reply | None = None
        self._is_mended = False  # line ends were
        self._announced = 0  # octets by the BDAT commands so far
        self._offer = offer

    def recipient_named(self, argument: str) -> RecipientReceived:
        """The argument of RCPT.  Raises CommandRefused."""
        self.tried = True
        path, rest = path_and_rest(argument, "TO:", reply.BAD_RECIPIENT_SYNTAX)
        if path is None:
            raise CommandRefused(reply.MAILBOX_NAME_NOT_ALLOWED)
        named = RecipientReceived(path, **(read_parameters(rest, self._offer.rcpt_parameters) if rest else {}))
        if not (self.smtputf8 or path.is_ascii):
            raise CommandRefused(reply.NEEDS_SMTPUTF8)
        if self.accepted >= self._offer.recipients_limit:
            raise CommandRefused(reply.TOO_MANY_RECIPIENTS)
        return named

    def fault_in_data(self) -> Reply | None:
        """Whether DATA cannot come now."""
        if self.body is Body.BINARY:  # RFC 3030 §3
            return reply.BAD_SEQUENCE.saying("BODY=BINARYMIME needs BDAT")
        return self._fault_in_recipients()

    def fault_in_chunk(self, size: int) -> Reply | None:
        """Whether a chunk of this size cannot come now; if it can, it is counted."""
        self._announced += size
        limit = self._offer.message_size_limit
        if limit and self._announced > limit:
            return reply.TOO_BIG
        return self._fault_in_recipients()

    def _fault_in_recipients(self) -> Reply | None:
        """RFC 5321 §3.3 allows 503 and 554: 554 when all recipients were refused, 503 when none was named.  With LMTP
        it is 503 either way (RFC 2033 §4.2)."""
        if self.accepted:
            return None
        if self._offer.lmtp:
            return reply.BAD_SEQUENCE.saying(*reply.NO_VALID_RECIPIENTS.lines)
        return reply.NO_VALID_RECIPIENTS if self.tried else reply.BAD_SEQUENCE

    def kept(self, piece: bytes, is_dotless: bool = False) -> bytes | Reply:
        """A piece of the content as it is to be kept, or why the whole content is refused.

        is_dotless  this is the last piece, and no line of the content begins with a dot
        """
        limit = self._offer.message_size_limit
        if self.body is not Body.BINARY:
            room = limit - self.size if limit else len(piece)
            # What is beyond the limit is not judged, so that the verdict does not hang on how the stream was cut.
            if has_bare_line_ends(piece if len(piece) <= room else piece[:room].removesuffix(b"\r")):
                if self._offer.bare_line_ends is BareLineEnds.REFUSE:
                    return reply.BARE_LINE_END_IN_CONTENT
                piece, self._is_mended = with_whole_line_ends(piece), True
        self.size += len(piece)
        if limit and self.size > limit:
            return reply.TOO_BIG
        return PlainLines(piece) if is_dotless and not self._is_mended else piece
