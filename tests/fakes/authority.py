"""Certificates for tests: an authority of our own, and what it issues, as files and as contexts of a server."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

from relay.route.dane import Tlsa


@lru_cache(maxsize=8)
def authority(name: str = "Test") -> trustme.CA:
    """An authority; the same one for the same name, for making keys is slow."""
    return trustme.CA(organization_name=name)


@lru_cache(maxsize=8)
def intermediate(name: str = "Test") -> trustme.CA:
    return authority(name).create_child_ca()


@implementer(IOpenSSLContextFactory)
@dataclass(frozen=True)
class Issued:
    """A certificate with its key and its chain."""

    leaf: trustme.LeafCert

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.leaf.cert_chain_pems[0].bytes())

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        pems = b"".join(blob.bytes() for blob in self.leaf.cert_chain_pems)
        return tuple(x509.load_pem_x509_certificates(pems))

    def tlsa(self, usage: int = 3, selector: int = 1, matching: int = 1, place: int = 0) -> Tlsa:
        """What a TLSA record says of the certificate at a place of the chain."""
        return tlsa_of(self.chain[place], usage, selector, matching)

    def getContext(self) -> SSL.Context:
        """For a server of Twisted (IOpenSSLContextFactory)."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(self.certificate)
        for one in self.chain[1:]:
            context.add_extra_chain_cert(one)
        context.use_privatekey(load_pem_private_key(self.leaf.private_key_pem.bytes(), None))
        return context

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Files of the chain and of the key."""
        chain, key = folder / "tls.crt", folder / "tls.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in self.leaf.cert_chain_pems))
        key.write_bytes(self.leaf.private_key_pem.bytes())
        return chain, key


def tlsa_of(certificate: x509.Certificate, usage: int, selector: int, matching: int) -> Tlsa:
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    chosen = key if selector else certificate.public_bytes(Encoding.DER)
    data = [chosen, hashlib.sha256(chosen).digest(), hashlib.sha512(chosen).digest()][matching]
    return Tlsa(usage, selector, matching, data)


@lru_cache(maxsize=32)
def issue(*names: str, by: str = "Test", expired: bool = False, through: bool = False) -> Issued:
    """A certificate for these names or addresses.

    through  issued by an intermediate authority
    """
    issuer = intermediate(by) if through else authority(by)
    when = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) if expired else None
    return Issued(issuer.issue_cert(*names, not_after=when, not_before=when and when - datetime.timedelta(days=30)))


def authority_file(folder: Path, name: str = "Test") -> Path:
    path = folder / f"{name}.pem"
    path.write_bytes(authority(name).cert_pem.bytes())
    return path
