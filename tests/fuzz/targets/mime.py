"""Conversion for a hop without 8BITMIME: refused, or 7-bit with whole lines, and converting again changes nothing."""

from __future__ import annotations

from relay.deliver.downgrade import downgrade, needs_binary
from relay.message.transfer import base64, encoded, quoted_printable


def run(octets: bytes) -> None:
    for is_report in (False, True):
        converted = downgrade(octets, is_report=is_report)
        if converted is not None:
            body = converted.partition(b"\r\n\r\n")[2]
            assert body.isascii() and not needs_binary(body)
            assert converted.count(b"\n") == converted.count(b"\r\n") == converted.count(b"\r")
            assert downgrade(converted) == converted
    for written in (quoted_printable(octets), base64(octets), encoded(octets)[1]):
        assert written.isascii()
