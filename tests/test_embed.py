"""relay as a part of another program: on virtual time, and the example on real sockets."""

from __future__ import annotations

import email.message
import importlib.util
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from relay import embed
from relay.embed import (
    Address,
    CannotStart,
    ConfigFaults,
    Delivered,
    Failed,
    Handed,
    Later,
    Never,
    Notify,
    NotNow,
    NotTaken,
    Outcome,
    Policy,
    Refused,
    Relay,
    Taken,
    reply,
)
from relay.operate.explaining.explanation import explain
from relay.operate.explaining.finding import Question
from relay.testing.server import RelayServer
from relay.testing.world import RelayWorld

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "desk.py"
INBOX = [{"to": "in.example", "via": "function:inbox"}]


def submit(
    world: RelayWorld, message: Any = b"Subject: x\r\n\r\nx\r\n", to: str = "ann@in.example", **more: Any
) -> Taken:
    return world.wait_for(ensureDeferred(world.relay.submit("me@example.net", [to], message, **more)))


def states(world: RelayWorld, message_id: str) -> list[str]:
    return [step.name for step in world.journey(message_id)]


# -- submitting --------------------------------------------------------------------------------


def test_what_was_submitted_is_on_disk_and_arrives(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    hop.is_down()
    message = email.message.EmailMessage()
    message["Subject"], message["Bcc"] = "Grüße", "secret@example.org"
    message.set_content("Grüße\n")
    taken = submit(relay_world, message, "ann@example.org")
    relay_world.crash()
    hop.is_well()
    relay_world.wait_until(lambda: hop.messages)
    arrived = hop.messages[0]
    assert (arrived.subject, arrived.text, arrived.message["Bcc"]) == ("Grüße", "Grüße\n", None)
    assert arrived.message["Message-ID"] == f"<{taken.id}@relay.example>", "the rules of submission"
    assert message["Bcc"] == "secret@example.org", "the message itself is left alone"


def test_content_in_pieces(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("mx.example.org", domain="example.org")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"Subject: x\r\n\r\n"
        for _ in range(20):
            yield b"x" * 70 + b"\r\n"

    submit(relay_world, pieces(), "ann@example.org")
    submit(relay_world, [b"Subject: x\r\n", b"\r\n", b"\xff\r\n"], "ann@example.org")
    relay_world.wait_until(lambda: len(hop.messages) == 2)
    ends = [b"\r\n\r\n" + (b"x" * 70 + b"\r\n") * 20, b"\r\n\r\n\xff\r\n"]
    first, second = (one.content for one in hop.messages)  # two connections: either may be the first to arrive
    assert [first.endswith(end) or second.endswith(end) for end in ends] == [True, True]


def test_on_behalf_of_a_client_its_rules_hold(relay_world: RelayWorld) -> None:
    with pytest.raises(NotTaken) as refusal:
        submit(relay_world, to="ann@example.org", client="198.51.100.7")
    assert refusal.value.reply.code == 550 and not refusal.value.is_temporary
    assert submit(relay_world, to="ann@example.org", client="192.0.2.7").id


def test_each_recipient_has_an_answer(relay_world: RelayWorld) -> None:
    relay_world.configure({"forward": {"moved@example.org": {"refer": "new@example.com"}}, **domains("example.org")})
    both = ["moved@example.org", "ann@example.org"]
    taken = relay_world.wait_for(ensureDeferred(relay_world.relay.submit("", both, b"\r\n")))
    assert {address: answer.code for address, answer in taken.refused.items()} == {"moved@example.org": 551}
    with pytest.raises(NotTaken) as refusal:
        relay_world.wait_for(ensureDeferred(relay_world.relay.submit("", both[:1], b"\r\n")))
    assert list(refusal.value.refused) == ["moved@example.org"]


def domains(*names: str) -> dict[str, Any]:
    return {"accept": {"domains": names}}


@pytest.mark.parametrize("recipients", [[], "ann@example.org", ["no address"]])
def test_a_mistake_is_told_at_once(relay_world: RelayWorld, recipients: Any) -> None:
    with pytest.raises(ValueError):
        relay_world.wait_for(ensureDeferred(relay_world.relay.submit("me@example.net", recipients, b"\r\n")))


def test_a_report_of_success_where_it_is_wished_for(relay_world: RelayWorld) -> None:
    home = relay_world.next_hop("mx.example.net", domain="example.net")
    relay_world.next_hop("mx.example.org", domain="example.org").offers_not("DSN")
    submit(relay_world, to="ann@example.org", notify=Notify.SUCCESS)
    relay_world.wait_until(lambda: home.messages)
    assert home.messages[0].told[0].action == "relayed"


def test_nothing_is_taken_before_the_start_and_after_the_end(relay_world: RelayWorld) -> None:
    relay = relay_world.relay
    relay_world.stop()
    with pytest.raises(NotTaken) as refusal:
        relay_world.wait_for(ensureDeferred(relay.submit("", ["ann@example.org"], b"\r\n")))
    assert refusal.value.is_temporary
    unstarted = Relay({"spool": relay_world.folder / "other"}, reactor=relay_world.clock)
    with pytest.raises(NotTaken):
        relay_world.wait_for(ensureDeferred(unstarted.submit("", ["ann@example.org"], b"\r\n")))


# -- functions ---------------------------------------------------------------------------------


class Inbox:
    """A function, and what it got."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.got: list[bytes] = []
        self.broken_off = 0

    async def __call__(self, handed: Handed) -> Sequence[Outcome] | None:
        self.got.append(await handed.whole())
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Deferred):
            try:
                await answer
            except CancelledError:
                self.broken_off += 1
                raise
        return answer if isinstance(answer, list) else None


def inbox(world: RelayWorld, *answers: object) -> Inbox:
    function = Inbox(*answers)
    world.configure({"routes": INBOX}, functions={"inbox": function})
    return function


def test_a_function_takes_mail(relay_world: RelayWorld) -> None:
    function = inbox(relay_world)
    large = b"Subject: x\r\n\r\n" + b"x" * 100 + b"\r\n" * 100_000
    ids = [submit(relay_world).id, submit(relay_world, large).id]
    relay_world.wait_until(lambda: len(function.got) == 2)
    assert [one.partition(b"Subject: ")[2] for one in function.got] == [b"x\r\n\r\nx\r\n", large.partition(b": ")[2]]
    assert function.got[0].startswith(b"Received: ")
    relay_world.pass_time(seconds=1)
    assert [states(relay_world, one)[-1] for one in ids] == ["delivered"] * 2
    assert relay_world.queue == []


def test_not_now_is_tried_again_and_never_is_reported(relay_world: RelayWorld) -> None:
    home = relay_world.next_hop("mx.example.net", domain="example.net")
    function = inbox(relay_world, NotNow("the database is down"), LookupError("a defect"), Never("not in this house"))
    taken = submit(relay_world)
    relay_world.wait_until(lambda: home.messages, hours=3)
    assert len(function.got) == 3
    assert states(relay_world, taken.id) == ["accepted", "deferred", "trouble", "deferred", "failed", "reported"]
    told = [str(step.fields.get("reply")) for step in relay_world.journey(taken.id)[1:5]]
    assert told[0] == "451 4.3.0 the database is down"
    assert "a defect" in str(relay_world.journey(taken.id)[2].fields["traceback"])
    assert home.messages[0].told[0].reply == "554 5.0.0 not in this house"
    assert "a defect" not in home.messages[0].content.decode(), "our own trouble is nobody else's business"


def test_an_outcome_for_each_recipient(relay_world: RelayWorld) -> None:
    yes, no, later = (
        Delivered(reply(250, "2.0.0", "yes"), ""),
        Failed(reply(550, "5.1.1", "no")),
        Later(reply(450, "4.2.1", "later")),
    )
    function = inbox(relay_world, [yes, no, later])
    to = [f"{name}@in.example" for name in ("ann", "bob", "carl")]
    taken = relay_world.wait_for(ensureDeferred(relay_world.relay.submit("me@example.net", to, b"\r\n")))
    relay_world.pass_time(seconds=20)
    told = {
        step.fields["recipient"]: step.name
        for step in relay_world.journey(taken.id)
        if step.name in ("delivered", "failed", "deferred")
    }
    assert told == {"ann@in.example": "delivered", "bob@in.example": "failed", "carl@in.example": "deferred"}
    assert len(function.got) == 1


def test_too_few_outcomes_are_a_defect(relay_world: RelayWorld) -> None:
    inbox(relay_world, [])
    taken = submit(relay_world)
    relay_world.pass_time(seconds=20)
    assert states(relay_world, taken.id) == ["accepted", "trouble", "deferred"]


def test_a_function_that_never_ends_leaves_it_in_doubt(relay_world: RelayWorld) -> None:
    """RFC 1047, and nothing else waits for it."""
    function = inbox(relay_world, Deferred())
    taken = submit(relay_world)
    other = submit(relay_world)
    relay_world.wait_until(lambda: states(relay_world, other.id)[-1] == "delivered")
    relay_world.pass_time(minutes=9)
    assert states(relay_world, taken.id) == ["accepted"]
    relay_world.pass_time(minutes=2)
    assert relay_world.journey(taken.id)[1].fields["in_doubt"]
    relay_world.pass_time(minutes=10)
    assert states(relay_world, taken.id)[-1] == "delivered"
    assert len(function.got) == 3


def test_at_the_end_a_function_is_broken_off(relay_world: RelayWorld) -> None:
    function = inbox(relay_world, Deferred())
    taken = submit(relay_world)
    relay_world.wait_until(lambda: function.got)
    relay_world.stop()
    assert relay_world.log[-1].name == "stopped" and function.broken_off == 1
    relay_world.pass_time(hours=2)
    assert states(relay_world, taken.id)[-1] == "delivered"


def test_a_function_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    async def take(handed: Handed) -> None: ...

    with pytest.raises(ConfigFaults, match=r"there is no function 'inbox'.*docs/embedding\.md"):
        Relay({"routes": INBOX}, reactor=object())
    with pytest.raises(ConfigFaults, match="there are: other"):
        Relay({"routes": INBOX}, functions={"other": take}, reactor=object())
    file = tmp_path / "relay.yaml"
    file.write_text("routes: [{to: '*', via: 'function:inbox'}]\n")
    with pytest.raises(ConfigFaults, match=r"relay.yaml:1:\d+: routes\[0\].via: there is no function 'inbox'"):
        Relay(file, reactor=object())


def test_an_explanation_knows_functions_and_that_there_may_be_no_listener(relay_world: RelayWorld) -> None:
    async def told() -> dict[str, Any]:
        question = Question(client="192.0.2.1", sender="me@example.net", recipients=("ann@in.example",))
        found = [one async for one in explain(relay_world.relay._desk.premises(), question)]
        return {one.what: one for one in found}

    inbox(relay_world)
    found = relay_world.wait_for(ensureDeferred(told()))
    assert (found["route"].decision, found["route"].details["via"]) == ("accepted", "function:inbox")
    assert found["verdict"].decision == "accepted"
    relay_world.stop()
    relay_world.runs(lambda **around: Relay({"spool": relay_world.disk.folder}, **around))
    with pytest.raises(ValueError, match="there is no listener"):
        relay_world.wait_for(ensureDeferred(told()))


# -- rules of one's own --------------------------------------------------------------------------


class OnlyOnMondays(Policy):
    def recipient(self, client: Any, service: Any, address: Address, *more: Any) -> Any:
        if address.local == "tuesday":
            return Refused(reply(550, "5.7.1", "Not today"), "only on Mondays", "the program")
        return super().recipient(client, service, address, *more)


def test_a_policy_of_its_own_decides_and_explains(relay_world: RelayWorld) -> None:
    relay_world.configure({}, policy=OnlyOnMondays)
    with pytest.raises(NotTaken, match="Not today"):
        relay_world.send("me@example.net", ["tuesday@example.org"], "Subject: x\n\n")
    relay_world.configure({"hostname": "relay.example"})
    with pytest.raises(NotTaken, match="Not today"):
        submit(relay_world, to="tuesday@example.org")
    explaining = relay_world.relay._desk.premises()
    assert type(explaining.listeners[0][0].house.policy) is OnlyOnMondays
    from relay.operate.explaining.rehearsal import Rehearsal

    rehearsal = Rehearsal(explaining.listeners[0][0], explaining.attendance)
    client = rehearsal.policy.client("192.0.2.1")
    service = explaining.listeners[0][0].house.service
    assert str(rehearsal.policy.recipient(client, service, Address("tuesday", "example.org")).reply).endswith(
        "Not today"
    )
    assert [verdict.rule for verdict in rehearsal.policy.verdicts] == ["only on Mondays"]


# -- being a part ------------------------------------------------------------------------------


def test_who_follows_may_break_and_leave(relay_world: RelayWorld) -> None:
    heard: list[str] = []

    def broken(step: str, /, **fields: object) -> None:
        raise LookupError("a follower that is broken")

    relay_world.relay.follow(broken)
    leave = relay_world.relay.follow(lambda step, /, **fields: heard.append(step))
    submit(relay_world, to="ann@example.org")
    leave()
    leave()
    submit(relay_world, to="ann@example.org")
    assert heard.count("accepted") == 1


def test_it_is_the_program_that_decides_who_it_is() -> None:
    for key, value in (("user", "nobody"), ("group", "nogroup"), ("workers", 2)):
        with pytest.raises(ConfigFaults, match=f"{key}: .*remove this line"):
            Relay({"user": "nobody", key: value}, reactor=object())


def test_its_service_manager_hears_nothing_from_us(relay_world: RelayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd(1) would take the relay's end for the program's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(relay_world.folder / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(relay_world.folder / "notify"))
        assert relay_world.relay.running
        relay_world.configure({})
        relay_world.stop()
        with pytest.raises(BlockingIOError):
            manager.recv(100)


def test_nothing_is_opened_that_nobody_asked_for(relay_world: RelayWorld) -> None:
    relay_world.runs(lambda **around: Relay({"spool": relay_world.disk.folder}, **around))
    assert relay_world.relay.running
    assert [port.address for port in relay_world.network._ports] == [str(relay_world.disk.folder / "control.sock")]


def test_a_second_one_on_the_same_spool_says_why_not(relay_world: RelayWorld) -> None:
    running = relay_world.relay
    second = Relay(
        {"spool": relay_world.disk.folder}, reactor=relay_world.clock, surroundings=lambda *_: running._around
    )
    with pytest.raises(CannotStart, match="in use"):
        second.startService()


def test_all_names_are_there() -> None:
    assert all(hasattr(embed, name) for name in embed.__all__)


# -- the example ---------------------------------------------------------------------------------


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("desk", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["desk"] = module
    spec.loader.exec_module(module)
    return module


def test_the_desk_on_virtual_time(relay_world: RelayWorld) -> None:
    """The example of docs/embedding.md, as its author would test it."""
    desk_module = example()
    desk = desk_module.Desk(relay_world.defaults())
    relay_world.runs(desk.relay)
    hop = relay_world.next_hop("mx.example.net", domain="example.net")
    hop.greylists()
    relay_world.send("ann@example.net", [desk_module.OUR_ADDRESS], "Subject: it is broken\n\nHelp!\n")
    relay_world.pass_time(minutes=1)
    (ticket,) = desk.tickets.values()
    assert (ticket.subject, ticket.answer) == ("it is broken", "deferred")
    relay_world.pass_time(hours=1)
    assert hop.messages[0].subject == "Re: it is broken" and ticket.answer == "delivered"
    with pytest.raises(NotTaken, match="heard enough"):
        relay_world.send("eve@spam.example", [desk_module.OUR_ADDRESS], "Subject: buy\n\n")
    relay_world.send("ann@example.net", [desk_module.OUR_ADDRESS], "no subject\n\n")
    relay_world.wait_until(lambda: relay_world.bounces)
    assert relay_world.bounces[0].told[0].reply.endswith("A ticket needs a subject")


@pytest.mark.endtoend
def test_the_desk_as_a_program(tmp_path: Path, relay_server: RelayServer) -> None:
    """As a process, on real sockets, with a smart host."""
    source = EXAMPLE.read_text(encoding="utf-8").replace("tcp:2525:", "tcp:0:")
    (tmp_path / "desk.py").write_text(source, encoding="utf-8")
    program = subprocess.Popen(
        [sys.executable, tmp_path / "desk.py", tmp_path, f"{relay_server.host}:{relay_server.port}"]
    )
    try:
        port = port_of(program.pid)
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("ann@example.net", ["desk@desk.example"], "Subject: it is broken\r\n\r\nHelp!\r\n")
        (answer,) = relay_server.wait_for_messages(1, within_s=30)
        assert answer.subject == "Re: it is broken"
    finally:
        program.terminate()
        assert program.wait(40) in (0, -15)


def port_of(pid: int) -> int:
    """Where the process listens on loopback."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        inodes = set()
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(str(descriptor.readlink()))
            except OSError:
                continue
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                return int(fields[1].partition(":")[2], 16)
        time.sleep(0.1)
    raise AssertionError("it does not listen")
