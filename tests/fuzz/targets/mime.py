"""Conversion for a hop without 8BITMIME: refused, or 7-bit with whole lines, and converting again changes nothing."""

from __future__ import annotations

from relay.deliver.downgrade import downgrade, needs_binary
from relay.message.transfer import base64, encoded, quoted_printable


def run(octets: bytes) -> None:
    converted = downgrade(octets)
    if converted is not None:
        assert not needs_binary(converted.partition(b"\r\n\r\n")[2])
        assert converted.count(b"\n") == converted.count(b"\r\n") == converted.count(b"\r")
        assert downgrade(converted) == converted
    for written in (quoted_printable(octets), base64(octets), encoded(octets)[1]):
        assert written.isascii()
