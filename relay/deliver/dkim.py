"""DKIM signatures for mail that we write ourselves: TLS reports must have one (RFC 8460 §3).

What goes through us is signed by who wrote it.  The content is in the form in which it goes out: lines end with CRLF,
and there is nothing in it but ASCII, so that no hop has a reason to change it.  Both parts are canonicalised in the
relaxed way (RFC 6376 §3.4), which outlives the spaces that some change all the same.

The rule that must not be broken: without a key that can be used there is no message, rather than one without signature.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.message.address import domain_key

LEAST_BITS = 1024  # RFC 8301 §3.2: shorter keys are not to be used, and 2048 are better

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)\r\n")
_SPACES = re.compile(rb"[ \t]+")
_LINE_OCTETS = 72

Key = RSAPrivateKey | Ed25519PrivateKey


class KeyFault(Exception):
    """This file has no key that can be used; ``str()`` says why."""


def read_key(path: Path) -> Key:
    """The private key in a PEM file.  Raises KeyFault."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise KeyFault(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFault(f"{path}: there is no private key in it that can be read without a passphrase") from None
    if not isinstance(key, Key):
        raise KeyFault(f"{path}: the key is neither RSA nor Ed25519, and DKIM knows no other")
    if isinstance(key, RSAPrivateKey) and key.key_size < LEAST_BITS:
        raise KeyFault(f"{path}: {key.key_size} bits are too few; make a key of 2048")
    return key


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs in the name of a domain.

    selector  names the key in the domain's DNS
    key       its file; read for each signature, so that it can be changed
    """

    domain: str
    selector: str
    key: Path

    def signed(self, content: bytes) -> bytes:
        """The message with its signature in front.  Raises KeyFault."""
        key = read_key(self.key)
        header, _, body = content.partition(b"\r\n\r\n")
        fields = _FIELD.findall(header + b"\r\n")
        algorithm = "rsa-sha256" if isinstance(key, RSAPrivateKey) else "ed25519-sha256"
        tags = [
            "v=1",
            f"a={algorithm}",
            "c=relaxed/relaxed",
            f"d={domain_key(self.domain)}",
            f"s={self.selector}",
            f"h={':'.join(name.decode('ascii').lower() for name, _ in fields)}",
            f"bh={_text(sha256(_relaxed_body(body)).digest())}",
            "b=",
        ]
        unsigned = "DKIM-Signature: " + ";\r\n ".join(tags)
        said = b"".join(_relaxed_field(name, value) + b"\r\n" for name, value in fields)
        said += _relaxed_field(*unsigned.encode("ascii").split(b":", 1))
        signature = _text(_signature(key, said))
        folded = "\r\n ".join(signature[at : at + _LINE_OCTETS] for at in range(0, len(signature), _LINE_OCTETS))
        return f"{unsigned}{folded}\r\n".encode("ascii") + content


def _signature(key: Key, said: bytes) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return key.sign(said, PKCS1v15(), SHA256())
    return key.sign(sha256(said).digest())  # RFC 8463 §3


def _relaxed_field(name: bytes, value: bytes) -> bytes:
    """RFC 6376 §3.4.2, without the line end."""
    return name.lower() + b":" + _SPACES.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")


def _relaxed_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.4."""
    lines = [_SPACES.sub(b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    whole = b"\r\n".join(lines).rstrip(b"\r\n")
    return whole + b"\r\n" if whole else b""


def _text(octets: bytes) -> str:
    return b64encode(octets).decode("ascii")
