"""What the codes mean to a person: in whose hands the trouble lies, and what can be done about it.

The codes are those of RFC 3463 and its registry (RFC 5248, 7372, 7504, 7505, 6531); a code nobody registered is
explained by its subject, the middle number.
"""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """what  a sentence that names whose trouble it is; advice  what the sender can do."""

    what: str
    advice: str


_SPELLING = "Check the spelling of the address, or ask the recipient for it in another way."
_DOMAIN = "Check the spelling of the part after the @."
_LATER = "Send it again later, or reach the recipient in another way."
_SMALLER = "Send less at once, for example a link instead of the file."
_ASK_HERE = "Ask the postmaster of this server: it lies with the servers, not with you."
_ASK_THERE = "Ask the recipient, in another way, to have it looked at by the people who run that server."
_SENDER = "Check the address that you send from, or ask the postmaster of this server."
_PROOF = "The postmaster of your domain can set this right: it is about how your domain proves that mail comes from it."

_BY_DETAIL = {
    "1.1": Meaning("The address does not exist at the recipient's server.", _SPELLING),
    "1.2": Meaning("The domain of the address does not exist, or no server takes mail for it.", _DOMAIN),
    "1.3": Meaning("The address is not written as an address is.", _SPELLING),
    "1.4": Meaning("The address could mean more than one recipient.", _SPELLING),
    "1.6": Meaning("The recipient has moved, and left no new address.", "Ask the recipient for the new address."),
    "1.7": Meaning("Your own address, as it came with the message, is not accepted there.", _SENDER),
    "1.8": Meaning("The domain of your own address is not accepted there.", _SENDER),
    "1.10": Meaning("The domain of the address declares that it takes no mail.", _DOMAIN),
    "2.1": Meaning("The recipient's mailbox is closed for the present.", _LATER),
    "2.2": Meaning("The recipient's mailbox is full.", "Tell the recipient in another way, and send it again later."),
    "2.3": Meaning("The message is larger than the recipient's mailbox takes.", _SMALLER),
    "3.1": Meaning("The recipient's server has no room left.", _LATER),
    "3.2": Meaning("The recipient's server takes no mail at present.", _LATER),
    "3.4": Meaning("The message is larger than the recipient's server takes.", _SMALLER),
    "4.1": Meaning("The recipient's server does not answer.", _LATER),
    "4.2": Meaning("The connection to the recipient's server broke.", _LATER),
    "4.3": Meaning("The directory that names the recipient's server (DNS) does not answer.", _LATER),
    "4.4": Meaning("No way to the recipient's server is known.", _DOMAIN),
    "4.6": Meaning("The message goes round in a circle between servers.", _ASK_HERE),
    "4.7": Meaning("The time for delivering it ran out.", _LATER),
    "5.3": Meaning("The message has more recipients than the recipient's server takes at once.", _LATER),
    "6.3": Meaning(
        "The recipient's server cannot take the message in this form, and it cannot be converted unharmed.",
        "Send it without signature or encryption and with plain attachment names, or in plain text.",
    ),
    "6.7": Meaning(
        "The message needs a server that knows international addresses (SMTPUTF8); the next one does not.",
        "Use addresses without letters beyond a to z, for yourself and the recipient, and plain attachment names.",
    ),
    "7.1": Meaning(
        "A rule of the receiving server forbids the message.",
        "Read what it answered; if that does not help, ask the recipient in another way, or your postmaster.",
    ),
    "7.2": Meaning("You may not send to this list.", "Ask the owner of the list."),
    "7.8": Meaning("This server could not log in at the next one.", _ASK_HERE),
    "7.20": Meaning("The message bears no signature (DKIM) that is accepted there.", _PROOF),
    "7.21": Meaning("The signature (DKIM) of the message is not accepted there.", _PROOF),
    "7.22": Meaning("The signature (DKIM) is not that of the author's domain.", _PROOF),
    "7.23": Meaning("Your domain does not allow this server to send its mail (SPF).", _PROOF),
    "7.24": Meaning("The list of servers that may send for your domain (SPF) is broken.", _PROOF),
    "7.25": Meaning("The recipient's server finds no proper name for this server's address.", _ASK_HERE),
    "7.26": Meaning("The message fails several checks of where it comes from.", _PROOF),
    "7.27": Meaning("The domain of your own address takes no mail, so that nothing from it is accepted.", _SENDER),
}

_BY_SUBJECT = {
    "0": Meaning("The recipient's server does not accept the message.", "Read what it answered."),
    "1": Meaning("The address is not accepted.", _SPELLING),
    "2": Meaning("The recipient's mailbox cannot take the message.", _LATER),
    "3": Meaning("The recipient's server has trouble of its own.", _ASK_THERE),
    "4": Meaning("The network, or a name in it, stands between this server and the recipient's.", _LATER),
    "5": Meaning("This server and the next one did not understand each other.", _ASK_HERE),
    "6": Meaning("The content of the message, or its form, is not accepted.", "Send it in a simpler form."),
    "7": Meaning(
        "A rule of the receiving server forbids the message.",
        "Read what it answered; if that does not help, ask the recipient in another way, or your postmaster.",
    ),
}

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def meaning(status: str) -> Meaning:
    """What an enhanced code such as ``5.1.1`` or ``4.2.2`` means; the class makes no difference to that."""
    detail = status.partition(".")[2]
    return _BY_DETAIL.get(detail) or _BY_SUBJECT.get(detail.partition(".")[0]) or _BY_SUBJECT["0"]


def spell(seconds: float) -> str:
    """A length of time as people say it: ``5 days``, ``36 hours``, ``1 hour``."""
    for size, unit in _UNITS:
        number = round(seconds / size)
        if seconds >= 2 * size or round(seconds) == size:
            return f"{number} {unit}{'s' if number != 1 else ''}"
    return "a moment"
