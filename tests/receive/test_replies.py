"""Every reply code of the document, each provoked from the wire in its own situation.

The table is the one in docs/replies.md; change both together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import fail

from relay.message import reply
from relay.message.address import Address
from relay.policy.content import ContentLimits
from relay.policy.directory import parse_entry
from relay.policy.forward import Forward
from relay.policy.policy import PolicySettings, Service
from relay.policy.recipients import parse_recipients
from relay.policy.users import User
from relay.queue.store import StoreFull, StoreUnavailable
from relay.receive.settings import Entrance
from relay.receive.tls import Certificates, ServerTls
from tests.fakes.users import FakeUsers
from tests.policy.test_forward import entries
from tests.receive.visit import HOSTNAME, STRANGER, House, Visit

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "replies.md"
POLICY = PolicySettings(
    HOSTNAME,
    domains=("ours.example",),
    forward=entries(
        {
            "gone@ours.example": "gone@else.example",
            "moved@ours.example": Forward(refer=Address("moved", "else.example")),
            "sales": ["joe@ours.example", "bob@else.example"],
            "books": ["joe@ours.example", "bob@bücher.example"],
            "moved2@ours.example": Forward(refer=Address("üwe", "else.example")),
            "round@ours.example": "round2@ours.example",
            "round2@ours.example": "round@ours.example",
        }
    ),
    directory=(
        parse_entry("crispin", "Mark Crispin <mrc@ours.example>"),
        parse_entry("joe", "Joe Smith <joe@ours.example>"),
        parse_entry("harry", "Harry Smith <harry@ours.example>"),
        parse_entry("uwe", "Uwe Müller <üwe@ours.example>"),
    ),
    content=ContentLimits(hops=3, header_octets=4000),
)
MAIL = "MAIL FROM:<ann@client.example>"
RCPT = "RCPT TO:<joe@ours.example>"

Situation = Callable[[], list[str]]
SITUATIONS: list[tuple[str, str, Situation]] = []


def situation(expected: str) -> Callable[[Situation], Situation]:
    """Registers a situation under the reply that it must give; its name is the sentence in the table."""

    def registered(provoke: Situation) -> Situation:
        SITUATIONS.append((expected, provoke.__name__, provoke))
        return provoke

    return registered


def listed(text: str | None, **more: object) -> House:
    house = House(PolicySettings(HOSTNAME, domains=("ours.example",), recipients_listed=True), **more)
    house.policy.recipients = parse_recipients(text, "list") if text is not None else None
    return house


def content(house: House, text: str, *before: str, ip: str = "127.0.0.1") -> list[str]:
    visit = house.visit(ip)
    visit.says(*before or (MAIL, RCPT), "DATA")
    visit.sends((text + ".\r\n").encode())
    return visit.heard()


PLAIN = "AUTH PLAIN AGpvZUBvdXJzLmV4YW1wbGUAZ2VoZWlt"  # joe@ours.example, geheim
WRONG = "AUTH PLAIN AGpvZUBvdXJzLmV4YW1wbGUAZmFsc2No"


def users(in_clear: bool = True, *allowed: str, **more: object) -> House:
    source = FakeUsers(User("joe@ours.example"), mechanisms=frozenset({"PLAIN", "LOGIN", "SCRAM-SHA-256"}))
    return House(POLICY, source=source, entrance=Entrance(login_in_clear=in_clear), allowed=allowed, **more)


def known(house: House) -> FakeUsers:
    logins = house.factory.house.logins
    assert logins is not None
    (source,) = logins._sources
    assert isinstance(source, FakeUsers)
    return source


def late(house: House, visit: Visit, *lines: str) -> list[str]:
    visit.says(*lines)
    house.clock.advance(10)
    return visit.heard()


class NoTls(ServerTls):
    """A certificate there is, but nothing is made of it here."""

    def __init__(self) -> None:
        super().__init__(Certificates(()))


# -- 2yz and 3yz -------------------------------------------------------------------------------


@situation("220 2.0.0")
def starttls_where_there_is_a_certificate() -> list[str]:
    house = House(POLICY, tls=NoTls())
    visit = house.visit()
    visit.wire.startTLS = lambda _: None
    return visit.says("STARTTLS")


@situation("235 2.7.0")
def a_login_that_is_right() -> list[str]:
    return users().visit(STRANGER).says(PLAIN)


@situation("334")
def a_login_that_goes_on() -> list[str]:
    return users().visit(STRANGER).says("AUTH LOGIN")


@situation("432 4.7.12")
def a_login_by_scram_while_some_passwords_are_not_kept_for_it() -> list[str]:
    house = users()
    known(house).trouble = reply.PASSWORD_TRANSITION
    return late(house, house.visit(STRANGER), WRONG)


@situation("454 4.7.0")
def a_login_while_we_cannot_ask_who_knows_the_users() -> list[str]:
    house = users()
    known(house).trouble = OSError("no such socket")
    return house.visit(STRANGER).says(PLAIN)


@situation("454 4.7.0")
def a_login_after_too_many_that_failed() -> list[str]:
    house = users()
    visit = house.visit(STRANGER)
    for _ in range(5):
        late(house, visit, WRONG)
    return visit.says(PLAIN)


@situation("454 4.7.0")
def starttls_when_the_certificate_is_gone() -> list[str]:
    house = House(POLICY, tls=NoTls())
    visit = house.visit()
    house.factory.house.tls = None
    return visit.says("STARTTLS")


@situation("500 5.5.6")
def a_line_of_a_login_that_is_too_long() -> list[str]:
    visit = users().visit(STRANGER)
    visit.says("AUTH PLAIN")
    return visit.says("A" * 12300)


@situation("501 5.5.2")
def a_login_that_is_no_base64() -> list[str]:
    return users().visit(STRANGER).says("AUTH PLAIN !")


@situation("501 5.7.0")
def a_login_that_is_cancelled() -> list[str]:
    return users().visit(STRANGER).says("AUTH LOGIN", "*")


@situation("503 5.5.1")
def a_second_login() -> list[str]:
    visit = users().visit(STRANGER)
    visit.says(PLAIN)
    return visit.says(PLAIN)


@situation("503 5.5.1")
def a_command_behind_starttls() -> list[str]:
    said = House(POLICY, tls=NoTls()).visit().says("STARTTLS", MAIL)
    assert said.pop() == f"421 4.7.0 {HOSTNAME} Cannot go on after this, closing transmission channel"
    return said


@situation("504 5.5.4")
def a_login_by_a_mechanism_that_is_not_there() -> list[str]:
    return users().visit(STRANGER).says("AUTH DIGEST-MD5")


@situation("530 5.7.0")
def a_submission_before_a_login() -> list[str]:
    return users(service=Service.SUBMISSION).visit(STRANGER).says(MAIL)


@situation("530 5.7.0")
def a_command_before_tls_where_it_is_required() -> list[str]:
    return House(POLICY, tls=NoTls(), entrance=Entrance(must_encrypt=True)).visit().says(MAIL)


@situation("534 5.7.9")
def a_login_by_a_mechanism_that_is_not_allowed() -> list[str]:
    return users(True, "SCRAM-SHA-256").visit(STRANGER).says("AUTH LOGIN")


@situation("535 5.7.8")
def a_login_that_is_wrong() -> list[str]:
    house = users()
    return late(house, house.visit(STRANGER), WRONG)


@situation("538 5.7.11")
def a_login_in_the_clear() -> list[str]:
    return users(in_clear=False).visit(STRANGER).says(PLAIN)


@situation("553 5.7.1")
def a_sender_that_is_not_the_users() -> list[str]:
    visit = users().visit(STRANGER)
    visit.says(PLAIN)
    return visit.says("MAIL FROM:<ann@client.example>")


@situation("211 2.0.0")
def help_status_from_a_trusted_client() -> list[str]:
    return House(POLICY).visit().says("HELP STATUS")


@situation("214 2.0.0")
def help() -> list[str]:
    return House(POLICY).visit().says("HELP")


@situation("214 2.0.0")
def help_status_from_a_stranger() -> list[str]:
    return House(POLICY).visit(STRANGER).says("HELP STATUS")


@situation("220")
def a_client_connects() -> list[str]:
    return House(POLICY).visit(hello=None).heard()


@situation("221 2.0.0")
def quit() -> list[str]:
    return House(POLICY).visit().says("QUIT")


@situation("250")
def ehlo() -> list[str]:
    return House(POLICY).visit(hello=None).says("EHLO client.example")[1:]


@situation("250 2.1.0")
def a_sender_is_accepted() -> list[str]:
    return House(POLICY).visit().says(MAIL)


@situation("250 2.1.5")
def a_recipient_is_accepted() -> list[str]:
    return House(POLICY).visit().says(MAIL, RCPT)


@situation("250 2.0.0")
def a_message_is_on_disk() -> list[str]:
    return content(House(POLICY), "body\r\n")


@situation("250 2.0.0")
def noop() -> list[str]:
    return House(POLICY).visit().says("NOOP")


@situation("250 2.0.0")
def rset() -> list[str]:
    return House(POLICY).visit().says("RSET")


@situation("250 2.0.0")
def a_chunk_that_is_not_the_last() -> list[str]:
    visit = House(POLICY).visit()
    visit.says(MAIL, RCPT)
    visit.sends(b"BDAT 4\r\nbody")
    return visit.heard()


@situation("250 2.1.5")
def vrfy_finds_one_user() -> list[str]:
    return House(POLICY).visit().says("VRFY Crispin")


@situation("250 2.1.5")
def expn_lists_the_targets_of_a_forward() -> list[str]:
    return House(POLICY).visit().says("EXPN sales")


@situation("250 2.0.0")
def etrn_starts_the_queue_and_does_not_count() -> list[str]:
    house = House(POLICY)
    house.waiting = None
    return house.visit().says("ETRN ours.example")


@situation("251 2.0.0")
def etrn_finds_nothing_waiting() -> list[str]:
    return House(POLICY).visit().says("ETRN ours.example")


@situation("253 2.0.0")
def etrn_starts_what_is_waiting() -> list[str]:
    house = House(POLICY)
    house.waiting = 3
    return house.visit().says("ETRN ours.example")


@situation("251 2.1.5")
def a_recipient_is_forwarded_and_the_client_may_know_where() -> list[str]:
    return House(POLICY).visit().says(MAIL, "RCPT TO:<gone@ours.example>")


@situation("251 2.1.5")
def vrfy_of_a_forwarded_user() -> list[str]:
    return House(POLICY).visit().says("VRFY gone@ours.example")


@situation("252 2.1.5")
def vrfy_of_what_is_taken_but_cannot_be_verified() -> list[str]:
    return House(POLICY).visit().says("VRFY ann@else.example")


@situation("252 2.1.5")
def vrfy_by_a_stranger() -> list[str]:
    return House(POLICY).visit(STRANGER).says("VRFY Crispin")


@situation("252 2.6.8")
def vrfy_of_a_mailbox_beyond_ascii_without_smtputf8() -> list[str]:
    return House(POLICY).visit().says("VRFY uwe")


@situation("550 5.6.8")
def expn_of_a_mailbox_beyond_ascii_without_smtputf8() -> list[str]:
    visit = House(POLICY).visit()
    assert visit.says("EXPN books SMTPUTF8")[-1] == "250 2.1.5 <bob@bücher.example>"
    return visit.says("EXPN books")


@situation("553 5.6.8")
def vrfy_of_a_refusal_with_a_mailbox_beyond_ascii_without_smtputf8() -> list[str]:
    return House(POLICY).visit().says("VRFY moved2@ours.example")


@situation("252 2.1.5")
def vrfy_of_postmaster() -> list[str]:
    return listed("ann@ours.example").visit().says("VRFY postmaster")


@situation("354")
def data_after_a_recipient() -> list[str]:
    return House(POLICY).visit().says(MAIL, RCPT, "DATA")


# -- 4yz ---------------------------------------------------------------------------------------


@situation("421 4.3.2")
def the_relay_is_shutting_down() -> list[str]:
    house = House(POLICY)
    visit = house.visit()
    house.factory.shut_down(30)
    return visit.heard()


@situation("421 4.3.2")
def a_client_connects_while_the_relay_is_shutting_down() -> list[str]:
    house = House(POLICY)
    house.visit().says(MAIL)
    house.factory.shut_down(30)
    return house.visit(hello=None).heard()


@situation("421 4.7.0")
def too_many_connections() -> list[str]:
    house = House(POLICY, connections_limit=1)
    house.visit()
    return house.visit(hello=None).heard()


@situation("421 4.7.0")
def too_many_connections_from_one_stranger() -> list[str]:
    house = House(POLICY, client_limit=1)
    house.visit(STRANGER)
    return house.visit(STRANGER, hello=None).heard()


@situation("421 4.4.2")
def a_client_says_nothing_for_too_long() -> list[str]:
    house = House(POLICY)
    visit = house.visit()
    house.clock.pump([5] * 62)
    return visit.heard()


@situation("421 4.7.0")
def too_many_errors() -> list[str]:
    return House(POLICY).visit().says(*["WHAT"] * 25)


@situation("421 4.7.0")
def too_many_commands_without_mail() -> list[str]:
    return House(POLICY).visit().says(*["NOOP"] * 101)


@situation("421 4.7.0")
def a_chunk_of_a_size_that_is_not_understood() -> list[str]:
    said = House(POLICY).visit().says(MAIL, RCPT, "BDAT x", "RSET")
    assert said[-2] == "501 5.5.4 Syntax: BDAT octets [LAST]"
    return said


@situation("450 4.2.1")
def the_list_of_recipients_was_never_readable() -> list[str]:
    return listed(None).visit().says(MAIL, RCPT)


@situation("451 4.3.0")
def the_store_cannot_begin_a_message() -> list[str]:
    house = House(POLICY)
    house.store.trouble["begin"] = StoreUnavailable("I/O error")
    return house.visit().says(MAIL, RCPT, "DATA")


@situation("451 4.3.0")
def the_store_cannot_write() -> list[str]:
    house = House(POLICY)
    house.store.trouble["write"] = StoreUnavailable("I/O error")
    return content(house, "body\r\n")


@situation("451 4.3.0")
def the_store_cannot_commit() -> list[str]:
    house = House(POLICY)
    house.store.trouble["commit"] = StoreUnavailable("I/O error")
    return content(house, "body\r\n")


@situation("451 4.3.0")
def a_defect_of_ours() -> list[str]:
    house = House(POLICY)
    house.factory.house.enqueue = lambda *_: fail(ZeroDivisionError("a defect"))
    return content(house, "body\r\n")


@situation("451 4.3.0")
def a_forward_to_too_many() -> list[str]:
    forward = entries({"all": [f"u{number}@else.example" for number in range(11)]})
    house = House(PolicySettings(HOSTNAME, domains=("ours.example",), forward=forward, forward_limit=10))
    return house.visit().says(MAIL, "RCPT TO:<all@ours.example>")


@situation("452 4.3.1")
def the_disk_is_full_at_data() -> list[str]:
    house = House(POLICY)
    house.store.trouble["begin"] = StoreFull("no room")
    return house.visit().says(MAIL, RCPT, "DATA")


@situation("452 4.3.1")
def the_disk_is_full_at_the_end_of_data() -> list[str]:
    house = House(POLICY)
    house.store.trouble["commit"] = StoreFull("no room")
    return content(house, "body\r\n")


@situation("452 4.3.1")
def the_declared_size_has_no_room_on_the_disk() -> list[str]:
    house = House(POLICY)
    house.room = 1000
    return house.visit().says("MAIL FROM:<ann@client.example> SIZE=2000")


@situation("452 4.5.3")
def too_many_recipients() -> list[str]:
    return House(POLICY, recipients_limit=1).visit().says(MAIL, RCPT, "RCPT TO:<harry@ours.example>")


@situation("452 4.5.3")
def a_forward_that_would_be_too_many_recipients() -> list[str]:
    return House(POLICY, recipients_limit=2).visit().says(MAIL, RCPT, "RCPT TO:<sales@ours.example>")


@situation("458 4.3.0")
def etrn_while_the_store_is_in_trouble() -> list[str]:
    house = House(POLICY)
    house.waiting = fail(StoreUnavailable("I/O error"))
    return house.visit().says("ETRN ours.example")


@situation("459 4.7.1")
def etrn_by_a_stranger() -> list[str]:
    return House(POLICY).visit(STRANGER).says("ETRN ours.example")


# -- 5yz: syntax and sequence ------------------------------------------------------------------


@situation("500 5.5.1")
def an_unknown_command() -> list[str]:
    return House(POLICY).visit().says("WHAT")


@situation("500 5.5.6")
def a_line_that_is_too_long() -> list[str]:
    return House(POLICY).visit().says("NOOP " + "x" * 600)


@situation("500 5.5.2")
def a_line_with_a_bare_cr_or_lf() -> list[str]:
    return House(POLICY).visit().says("NOOP\nNOOP")


@situation("500 5.5.2")
def a_command_with_nul_or_8_bit() -> list[str]:
    return House(POLICY).visit().says("NOOP \0")


@situation("501 5.5.4")
def an_argument_that_is_not_understood() -> list[str]:
    return House(POLICY).visit().says("MAIL FRUM:<ann@client.example>")


@situation("501 5.1.7")
def a_sender_that_is_no_address() -> list[str]:
    return House(POLICY).visit().says("MAIL FROM:<ann@@client.example>")


@situation("501 5.1.3")
def a_recipient_that_is_no_path() -> list[str]:
    return House(POLICY).visit().says(MAIL, "RCPT TO:joe@ours.example")


@situation("501 5.5.4")
def etrn_for_no_domain() -> list[str]:
    return House(POLICY).visit().says("ETRN #queue")


@situation("502 5.5.1")
def turn() -> list[str]:
    return House(POLICY).visit().says("TURN")


@situation("502 5.5.1")
def expn_by_a_stranger() -> list[str]:
    return House(POLICY).visit(STRANGER).says("EXPN sales")


@situation("503 5.5.1")
def a_command_out_of_order() -> list[str]:
    return House(POLICY).visit().says(RCPT)


@situation("503 5.5.1")
def data_when_every_recipient_was_refused_with_lmtp() -> list[str]:
    visit = House(POLICY, Service.LMTP).visit(STRANGER, "LHLO client.example")
    return visit.says(MAIL, "RCPT TO:<ann@else.example>", "DATA")


@situation("504 5.5.4")
def help_for_what_there_is_no_help() -> list[str]:
    return House(POLICY).visit().says("HELP me")


@situation("555 5.5.4")
def a_parameter_that_is_unknown() -> list[str]:
    return House(POLICY).visit().says(MAIL + " FOO=BAR")


# -- 5yz: refusals -----------------------------------------------------------------------------


@situation("550 5.1.1")
def no_such_user_here() -> list[str]:
    return listed("ann@ours.example").visit().says(MAIL, RCPT)


@situation("550 5.1.1")
def vrfy_of_an_unknown_one_of_ours() -> list[str]:
    return listed("ann@ours.example").visit().says("VRFY joe@ours.example")


@situation("550 5.1.1")
def expn_of_no_list() -> list[str]:
    return House(POLICY).visit().says("EXPN crispin")


@situation("550 5.7.1")
def a_stranger_wants_to_relay() -> list[str]:
    return House(POLICY).visit(STRANGER).says(MAIL, "RCPT TO:<ann@else.example>")


@situation("550 5.7.1")
def a_local_part_with_a_route_from_a_stranger() -> list[str]:
    return House(POLICY).visit(STRANGER).says(MAIL, "RCPT TO:<ann%else.example@ours.example>")


@situation("550 5.7.1")
def submission_by_a_stranger() -> list[str]:
    return House(POLICY, Service.SUBMISSION).visit(STRANGER).says(MAIL)


@situation("550 5.4.6")
def a_forward_that_goes_in_a_circle() -> list[str]:
    return House(POLICY).visit().says(MAIL, "RCPT TO:<round@ours.example>")


@situation("550 5.5.2")
def content_with_a_bare_cr_or_lf() -> list[str]:
    return content(House(POLICY), "one\ntwo\r\n")


@situation("551 5.1.6")
def a_recipient_who_moved() -> list[str]:
    return House(POLICY).visit().says(MAIL, "RCPT TO:<moved@ours.example>")


@situation("551 5.1.6")
def a_recipient_who_moved_beyond_ascii_without_smtputf8() -> list[str]:
    said = House(POLICY).visit().says(MAIL, "RCPT TO:<moved2@ours.example>")
    assert "?" not in said[-1]
    return said


@situation("551 5.1.6")
def vrfy_of_somebody_who_moved() -> list[str]:
    return House(POLICY).visit().says("VRFY moved@ours.example")


@situation("552 5.3.4")
def a_declared_size_over_the_limit() -> list[str]:
    return House(POLICY, size_limit_octets=1000).visit().says(MAIL + " SIZE=1001")


@situation("552 5.3.4")
def content_over_the_limit() -> list[str]:
    return content(House(POLICY, size_limit_octets=1000), "body\r\n" * 200)


@situation("552 5.3.4")
def a_header_section_over_the_limit() -> list[str]:
    return content(House(POLICY), "X-Filler: aaaaaaaaaa\r\n" * 300 + "\r\n")


@situation("553 5.1.4")
def vrfy_of_an_ambiguous_name() -> list[str]:
    return House(POLICY).visit().says("VRFY Smith")


@situation("553 5.1.3")
def a_recipient_whose_mailbox_is_no_mailbox() -> list[str]:
    return House(POLICY).visit().says(MAIL, "RCPT TO:<joe..smith@ours.example>")


@situation("553 5.6.7")
def a_recipient_beyond_ascii_without_smtputf8() -> list[str]:
    return House(POLICY).visit().says(MAIL, "RCPT TO:<jürgen@ours.example>")


@situation("554 5.5.1")
def data_when_every_recipient_was_refused() -> list[str]:
    return House(POLICY).visit(STRANGER).says(MAIL, "RCPT TO:<ann@else.example>", "DATA")


@situation("554 5.4.6")
def too_many_hops() -> list[str]:
    return content(House(POLICY), "Received: from a by b; x\r\n" * 4 + "\r\nbody\r\n")


@situation("554 5.1.8")
def a_submission_from_an_unqualified_domain() -> list[str]:
    return House(POLICY, Service.SUBMISSION).visit().says("MAIL FROM:<root@nas>")


@situation("554 5.1.2")
def a_submission_to_an_unqualified_domain() -> list[str]:
    return House(POLICY, Service.SUBMISSION).visit().says(MAIL, "RCPT TO:<root@nas>")


# -- the tests ---------------------------------------------------------------------------------


@pytest.mark.parametrize("expected, name, provoke", SITUATIONS, ids=[f"{code}: {name}" for code, name, _ in SITUATIONS])
def test_a_situation_gives_its_code(expected: str, name: str, provoke: Situation) -> None:
    last = provoke()[-1]
    code, _, enhanced = expected.partition(" ")
    assert last[:3] == code, last
    said = re.match(r"\d{3}[ -](\d\.\d+\.\d+)?", last)
    assert said is not None and (said[1] or "") == enhanced, last


def test_every_code_of_the_document_has_its_situation() -> None:
    needed = {211, 214, 220, 221, 250, 251, 252, 354, 421, 450, 451, 452}
    needed |= {500, 501, 502, 503, 504, 550, 551, 552, 553, 554}
    assert needed <= {int(expected[:3]) for expected, _, _ in SITUATIONS}


def test_the_table_in_docs_has_every_situation() -> None:
    rows = {
        (match[1].strip(), match[2].strip())
        for match in re.finditer(
            r"^\| (\d{3}(?: [245]\.\d+\.\d+)?) *\| ([^|]+)\|", DOCUMENT.read_text("utf-8"), re.MULTILINE
        )
    }
    assert rows == {(expected, name.replace("_", " ")) for expected, name, _ in SITUATIONS}


def test_trouble_of_our_own_is_never_permanent() -> None:
    ours = re.compile("store|disk_is_full|no_room|defect|list_of_rec|too_many_conn|shutting_down|forward_to_too")
    assert all(expected[0] == "4" for expected, name, _ in SITUATIONS if ours.search(name))
