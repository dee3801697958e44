"""A message made ready for a hop: what it needs is found out once, and it is converted once, if ever."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from relay.deliver.downgrade import downgrade
from relay.deliver.form import (
    CANNOT_CONVERT,
    TOO_BIG_FOR_HOP,
    TOO_LARGE_TO_CONVERT,
    Form,
    Needs,
    form_for,
    needs_of_large,
    needs_of_whole,
)
from relay.deliver.pump import Content, WrongSize
from relay.message.envelope import Body, Message
from relay.message.outcome import Failed
from relay.message.tls_required import tls_not_required
from relay.smtp.offer import Offer

Open = Callable[[str], Content]
"""Opens the content of the message with this id."""


class Letter:
    """See the module.

    needs  what the content needs of a hop, as far as it is known
    """

    def __init__(self, message: Message, open_content: Open, convert_limit_octets: int) -> None:
        self.message = message
        self._open = open_content
        self._convert_limit_octets = convert_limit_octets
        self._content = message.content
        self._converted: bytes | None = None
        self._is_conversion_tried = False
        self._is_looked_at = message.content is not None
        if message.content is not None:
            self.needs = needs_of_whole(message.envelope, message.head, message.content)
        else:
            self.needs = needs_of_large(message.envelope, message.head, b"")

    def form(self, offer: Offer) -> Form | Failed | None:
        """The form for a hop that offers this; why there is none; or None: ``load`` first, then ask again."""
        form = form_for(self.needs, offer, declared_smtputf8=self.message.envelope.smtputf8)
        if isinstance(form, Failed):
            return form if self._is_looked_at else None
        if form.convert:
            converted = self._convert(form)
            if not isinstance(converted, Form):
                return converted
            form = converted
        if offer.size and self.size(form) > offer.size:
            return Failed(TOO_BIG_FOR_HOP)
        return form

    def size(self, form: Form) -> int:
        """Octets as sent."""
        return len(self._converted) if form.convert and self._converted is not None else self.message.size

    def source(self, form: Form) -> tuple[tuple[bytes, ...], Callable[[], Content] | None]:
        """What to send: pieces, and what opens the rest."""
        if form.convert and self._converted is not None:
            return (self._converted,), None
        if self._content is not None:
            return (self.message.head, self._content), None
        return (self.message.head,), partial(self._open, self.message.id)

    def has_stray_line_end(self) -> None:
        """Sending has found what makes the content binary, whatever it was declared to be."""
        self.needs = Needs(Body.BINARY, self.needs.smtputf8)

    async def tls_not_required(self) -> bool:
        """Whether the message says ``TLS-Required: No``.

        Raises what the store raises.
        """
        beginning = self.message.content
        if beginning is None:
            content = self._open(self.message.id)
            try:
                beginning = await content.read()
            finally:
                content.close()
        return tls_not_required(beginning.partition(b"\r\n\r\n")[0])

    async def load(self) -> None:
        """Reads a large content: all of it when it may have to be converted, else its beginning.

        Raises what the store raises, or WrongSize.
        """
        message = self.message
        content = self._open(message.id)
        try:
            pieces = [await content.read()]
            if message.size <= self._convert_limit_octets:
                while pieces[-1]:
                    pieces.append(await content.read())
        finally:
            content.close()
        self._is_looked_at = True
        if message.size > self._convert_limit_octets:
            self.needs = needs_of_large(message.envelope, message.head, pieces[0])
            return
        self._content = b"".join(pieces)
        if len(message.head) + len(self._content) != message.size:
            raise WrongSize(f"{len(message.head) + len(self._content)} octets of content instead of {message.size}")
        self.needs = needs_of_whole(message.envelope, message.head, self._content)

    def _convert(self, form: Form) -> Form | Failed | None:
        if not self._is_conversion_tried:
            if self._content is None:
                return None if self.message.size <= self._convert_limit_octets else Failed(TOO_LARGE_TO_CONVERT)
            is_report = self.message.envelope.reverse_path is None
            converted = downgrade(self.message.head + self._content, is_report=is_report)
            # DATA would put a CRLF at the end anyway; here it counts in SIZE.
            self._converted = converted + b"\r\n" if converted and not converted.endswith(b"\r\n") else converted
            self._is_conversion_tried = True
            self._content = self.message.content
        if self._converted is not None:
            return form
        if self.needs.body is Body.EIGHTBIT and self.message.envelope.body is Body.SEVENBIT:
            # It came as 7BIT and was 8-bit then.  To bounce now what others pass on every day would help nobody.
            return Form(Body.SEVENBIT, form.smtputf8)
        return Failed(CANNOT_CONVERT)
