"""Content by DATA: what comes out is what the definition says, and what our own client stuffs comes back."""

from __future__ import annotations

from contextlib import suppress

from relay.message.transfer import has_bare_line_ends
from relay.smtp.data import with_whole_line_ends
from relay.smtp.stuffing import DotStuffing, StrayLineEnd
from tests.smtp.test_data import by_definition, unframed


def run(octets: bytes) -> None:
    size, stream = 1 + (octets[0] if octets else 0) % 7, octets[1:]
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert unframed(pieces) == by_definition(stream)
    assert not has_bare_line_ends(with_whole_line_ends(stream))
    stuffing = DotStuffing()
    with suppress(StrayLineEnd):
        wire = b"".join([*map(stuffing.stuff, pieces), stuffing.end()])
        content = stream if stream.endswith(b"\r\n") or not stream else stream + b"\r\n"
        assert by_definition(wire) == (content, b"")
        assert not has_bare_line_ends(wire)
