"""Every dialogue, against the session without I/O: whole, cut by one and cut by five."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dialogues.carrier import ScriptedCarrier
from tests.dialogues.player import DialogueFailed, dialogues, play, read


@pytest.mark.parametrize("cut", [None, 1, 5], ids=["whole", "by-one", "by-five"])
@pytest.mark.parametrize("path", dialogues(), ids=lambda path: path.stem)
def test_dialogue(path: Path, cut: int | None) -> None:
    dialogue = read(path)
    carrier = ScriptedCarrier(dialogue)

    def send(data: bytes) -> None:
        for at in range(0, len(data), cut or len(data)):
            carrier.send(data[at : at + (cut or len(data))])

    play(dialogue, send, carrier.receive)
    assert carrier.receive() == b""
    ends_closed = dialogue.steps[-1].closed or dialogue.steps[-1].sent.upper().endswith(b"QUIT\r\n")
    assert carrier.session.closing == ends_closed


@pytest.mark.parametrize("path", dialogues(), ids=lambda path: path.stem)
def test_every_reply_line_keeps_to_the_grammar(path: Path) -> None:
    """RFC 5321 §4.2: three digits, then a space or a hyphen, at most 512 octets, printable text; nothing else."""
    dialogue = read(path)
    carrier = ScriptedCarrier(dialogue)
    said = carrier.receive()
    for step in dialogue.steps:
        carrier.send(step.sent)
        said += carrier.receive()
    assert said.endswith(b"\r\n")
    for line in said[:-2].split(b"\r\n"):
        assert line[:3].isdigit() and line[:1] in b"2345" and line[3:4] in b" -", line
        assert len(line) <= 510 and line.decode().isprintable(), line


def test_a_dialogue_that_is_not_followed_fails(tmp_path: Path) -> None:
    """The player itself: a wrong code, a wrong text, too little and too much are all noticed."""
    for told in ("S: 221", "S: 220 bar.com", "S: 220\nC: NOOP\nS: 250\nS: 250", "S: 220\nC: NOOP"):
        script = tmp_path / "wrong.txt"
        script.write_text(told)
        dialogue = read(script)
        carrier = ScriptedCarrier(dialogue)
        if told.endswith("NOOP"):
            play(dialogue, carrier.send, carrier.receive)
            assert carrier.receive() == b"250 2.0.0 OK\r\n"
        else:
            with pytest.raises(DialogueFailed):
                play(dialogue, carrier.send, carrier.receive)
