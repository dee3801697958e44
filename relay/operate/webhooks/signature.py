"""How a request is signed, so that its receiver knows who sent it, and when (Standard Webhooks 1.0).

The signature is HMAC-SHA256 over ``id.timestamp.body``; libraries for every language check it.  Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

PREFIX = "whsec_"
SECRET_LEAST_OCTETS = 16


class UnusableSecret(ValueError):
    """``str()`` says what would be right, and never the secret."""


def secret_of(text: str) -> bytes:
    """The secret that a line means: base64 after ``whsec_``, as the specification has it, or any text as it is.

    Raises UnusableSecret.
    """
    if text.startswith(PREFIX):
        try:
            secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            raise UnusableSecret(f"after {PREFIX} comes base64") from None
    else:
        secret = text.encode()
    if len(secret) < SECRET_LEAST_OCTETS:
        raise UnusableSecret(f"a secret needs {SECRET_LEAST_OCTETS} octets or more: openssl rand -hex 24 makes one")
    return secret


def signed(secret: bytes, message_id: str, at: float, body: bytes) -> Mapping[str, str]:
    """The fields of the header that go with a body.

    message_id  the same whenever the same is told again
    at          now, seconds since the epoch: a receiver refuses what is old, so that nobody can send it again
    """
    timestamp = str(int(at))
    text = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, text, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }
