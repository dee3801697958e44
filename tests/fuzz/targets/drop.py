"""Files of the maildrop: refused, or read as what can be written and read again."""

from __future__ import annotations

from relay.receive.maildrop.drop import TAIL_OCTETS, NotADrop, envelope_octets, parse, written


def run(octets: bytes) -> None:
    try:
        size = envelope_octets(octets[-TAIL_OCTETS:], len(octets))
    except NotADrop as fault:
        assert str(fault).isprintable()
        line = octets
    else:
        line = octets[-TAIL_OCTETS - size : -TAIL_OCTETS]
    try:
        drop = parse(line)
    except NotADrop as fault:
        assert str(fault).isprintable()
        return
    assert drop.recipients
    again = written(drop)
    assert again.count(b"\n") == 2
    assert parse(again[:-TAIL_OCTETS]) == drop
