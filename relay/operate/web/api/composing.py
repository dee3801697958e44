"""A message as JSON has it, put together as RFC 5322 and MIME want it.

Everything is 7-bit but addresses beyond ASCII, which need SMTPUTF8 on their way.  Without sockets and clocks.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.errors import MessageError, NonASCIILocalPartDefect
from email.headerregistry import Address as HeaderAddress
from email.headerregistry import UniqueAddressHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from relay.message.address import Address, AddressFault, domain_key, parse_mailbox
from relay.operate.web.api.models import Asked, Text, like

ADDRESSES_LIMIT = 1000
ATTACHMENTS_LIMIT = 100
HEADERS_LIMIT = 100

OURS = frozenset(
    [
        *("from", "to", "cc", "bcc", "reply-to", "subject", "received", "return-path"),
        *("mime-version", "content-type", "content-transfer-encoding", "content-disposition"),
    ]
)
"""Fields that have a place of their own, or are not the sender's to write."""

Mailbox = Annotated[
    str, Field(min_length=1, max_length=1000, description="`ann@example.org` or `Ann <ann@example.org>`.")
]
Mailboxes = Annotated[tuple[Mailbox, ...], Field(max_length=ADDRESSES_LIMIT)]


_TYPE, _CID = r"[\w.+-]+/[\w.+-]+", r"[^\s<>]+"
MediaType = Annotated[
    str,
    Field(json_schema_extra={"pattern": f"^{_TYPE}$"}),
    like(_TYPE, "this is no media type; write it like application/pdf"),
]
ContentId = Annotated[
    str,
    Field(json_schema_extra={"pattern": f"^{_CID}$"}),
    like(_CID, "blanks, < and > have no place in it; write it like logo"),
]

_NO_ADDRESS = "this is not one address; write ann@example.org or Ann <ann@example.org>, and several as a list"


class CannotCompose(ValueError):
    """No message can be made of it.

    where  the member that is wrong
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(what)
        self.where = where


class Attachment(Asked):
    """A file that goes with the message."""

    name: Text = Field(description="The file's name.")
    content: str = Field(description="Its octets, in base64.")
    type: Annotated[MediaType, Field(max_length=100)] = Field(
        default="application/octet-stream", description="Its media type."
    )
    cid: Annotated[ContentId, Field(max_length=200)] | None = Field(
        default=None, description="By which the HTML names it, as `cid:…`; then it is shown there."
    )


class NewMail(Asked):
    """A message to send.  Its envelope is made of `from`, and of `to`, `cc` and `bcc`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    sender: Mailbox = Field(alias="from", description="Who writes.")
    to: Mailboxes = Field(default=(), description="To whom.")
    cc: Mailboxes = Field(default=(), description="Who gets a copy.")
    bcc: Mailboxes = Field(default=(), description="Who gets a copy that the others do not know of.")
    reply_to: Mailboxes = Field(default=(), description="Who is to be answered, if not who writes.")
    subject: Annotated[str, Field(max_length=2000)] = Field(default="", description="What it is about.")
    text: str | None = Field(default=None, description="The text, plain.")
    html: str | None = Field(default=None, description="The text as HTML; with `text`, whoever reads chooses.")
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=ATTACHMENTS_LIMIT)] = Field(
        default=(), description="Files that go with it."
    )
    headers: Annotated[Mapping[str, str], Field(max_length=HEADERS_LIMIT)] = Field(
        default={}, description='More fields of the header section: `{"List-Id": "…"}`.'
    )


@dataclass(frozen=True, slots=True)
class Composed:
    """
    octets  the message, with CRLF
    sender  for the envelope, and so the recipients
    """

    octets: bytes
    sender: Address
    recipients: Sequence[Address]
    smtputf8: bool


def compose(mail: NewMail) -> Composed:
    """Raises CannotCompose."""
    named = {
        "from": _parsed("from", [mail.sender]),
        **{where: _parsed(where, getattr(mail, where)) for where in ("to", "cc", "bcc", "reply_to")},
    }
    (sender,) = _mailboxes("from", named["from"])
    recipients = [one for where in ("to", "cc", "bcc") for one in _mailboxes(where, named[where])]
    if not recipients:
        raise CannotCompose("to", "to whom? name somebody in to, cc or bcc")
    smtputf8 = not all(str(one).isascii() for one in (sender, *recipients))
    message = _message(mail, named, SMTPUTF8 if smtputf8 else SMTP.clone(cte_type="7bit"))
    return Composed(message.as_bytes(), sender, recipients, smtputf8)


def _message(mail: NewMail, named: Mapping[str, Sequence[HeaderAddress]], policy: EmailPolicy[Any]) -> EmailMessage:
    message = EmailMessage(policy)
    for field, where in (("From", "from"), ("Reply-To", "reply_to"), ("To", "to"), ("Cc", "cc")):
        if named[where]:
            message[field] = named[where]
    for name, value in (("Subject", mail.subject), *mail.headers.items()):
        if value:
            _add(message, name, value)
    if mail.text is not None or mail.html is None:
        message.set_content(mail.text or "")
        if mail.html is not None:
            message.add_alternative(mail.html, subtype="html")
    else:
        message.set_content(mail.html, subtype="html")
    for number, attachment in enumerate(mail.attachments):
        _attach(message, attachment, f"attachments[{number}]")
    return message


def _add(message: EmailMessage, name: str, value: str) -> None:
    where = f"headers.{name}" if name != "Subject" else "subject"
    if name.lower() in OURS and name != "Subject":
        raise CannotCompose(where, "this field is made of the other members, or is not yours to write")
    if not name.isascii() or not name.isprintable() or not name or any(mark in name for mark in ": "):
        raise CannotCompose(where, "that is no name of a header field")
    try:
        message[name] = value
    except (ValueError, MessageError) as error:
        raise CannotCompose(where, f"it cannot stand in a header field: {error}") from None


def _attach(message: EmailMessage, attachment: Attachment, where: str) -> None:
    try:
        octets = base64.b64decode(attachment.content, validate=True)
    except (binascii.Error, ValueError):
        raise CannotCompose(f"{where}.content", "that is no base64") from None
    main, _, sub = attachment.type.partition("/")
    if main in ("multipart", "message"):
        main, sub = "application", "octet-stream"  # these have rules of their own, and an encoded one breaks them
    if attachment.cid is not None:
        html = message.get_body(("html",))
        if html is None:
            raise CannotCompose(f"{where}.cid", "there is no html that could name it")
        html.add_related(octets, main, sub, cid=f"<{attachment.cid}>", filename=attachment.name, disposition="inline")
    else:
        message.add_attachment(octets, main, sub, filename=attachment.name)


def _parsed(where: str, texts: Sequence[str]) -> Sequence[HeaderAddress]:
    """Names and addresses as the header has them."""
    places = [where] if where == "from" else [f"{where}[{number}]" for number in range(len(texts))]
    return [_one(place, text) for place, text in zip(places, texts, strict=True)]


def _one(where: str, text: str) -> HeaderAddress:
    said: dict[str, Any] = {"defects": [], "parse_tree": None, "decoded": "", "groups": []}
    try:
        UniqueAddressHeader.parse(text, said)
    except Exception:  # the library's parser raises whatever it stumbles on
        raise CannotCompose(where, _NO_ADDRESS) from None
    found = [address for group in said["groups"] for address in group.addresses]
    # The parser makes something of nearly anything; mail goes only where it was told to go, letter by letter.
    is_sound = text.isprintable() and all(isinstance(one, NonASCIILocalPartDefect) for one in said["defects"])
    if not is_sound or len(found) != 1 or not found[0].domain or found[0].addr_spec not in text:
        raise CannotCompose(where, _NO_ADDRESS)
    (one,) = found
    # Beyond ASCII in the domain alone is no reason to need SMTPUTF8: it has another form.
    domain = domain_key(one.domain) if one.username.isascii() else one.domain
    return HeaderAddress(one.display_name, one.username, domain)


def _mailboxes(where: str, addresses: Sequence[HeaderAddress]) -> Iterator[Address]:
    for address in addresses:
        try:
            yield parse_mailbox(address.addr_spec)
        except AddressFault as fault:
            raise CannotCompose(where, str(fault)) from None
