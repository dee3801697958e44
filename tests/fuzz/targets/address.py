"""Addresses and paths: refused, or written and read back as they were, and no line can be ended by one."""

from __future__ import annotations

from relay.message.address import AddressFault, domain_key, is_domain, parse_mailbox, parse_path


def run(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    is_domain(text)
    domain_key(text[:300])
    for parse in (parse_mailbox.__wrapped__, parse_path.__wrapped__):
        try:
            read = parse(text)
        except AddressFault as fault:
            assert str(fault).isprintable()
            continue
        address = read[0] if isinstance(read, tuple) else read
        if address is None:
            continue
        written = str(address)
        written.encode()
        assert not set(written) & set("\r\n\0\x1b\x85\u2028\u2029")
        assert address.key == address.key.lower()
        if address.domain:
            assert parse_mailbox.__wrapped__(written) == address
