"""Whether a report is made, for whom, and what becomes of a report that cannot be delivered."""

from __future__ import annotations

import pytest

from relay.bounce.notify import Reporter, ReportSettings
from relay.message.address import parse_mailbox
from relay.message.envelope import Body, Composed, Notify, Ret
from relay.message.outcome import Action
from tests.bounce.cases import CONTENT, HEAD, NOW, a_message, a_reporter, delayed, read, relayed, told

POSTMASTER = parse_mailbox("post@example.org")


def test_a_report_goes_from_nobody_to_the_sender_and_causes_no_other() -> None:
    """RFC 3461 §6.1: null reverse-path, no RET, NOTIFY only as NEVER."""
    report = a_reporter().compose(a_message(), [told()], None, NOW)
    assert report is not None
    assert report.envelope.reverse_path is None
    assert report.envelope.ret is None
    [recipient] = report.recipients
    assert str(recipient.address) == "ann@example.org"
    assert recipient.notify is Notify.NEVER


def test_a_report_goes_where_other_mail_for_its_reader_goes() -> None:
    """To root@gateway nobody's mail would come: it goes to whom root's mail goes."""
    admins = (parse_mailbox("admin@example.org"), parse_mailbox("pager@example.org"))
    reporter = Reporter(ReportSettings("gateway.example.lan"), lambda address: admins)
    report = reporter.compose(a_message(), [told()], None, NOW)
    assert report is not None
    assert [(one.address, one.notify) for one in report.recipients] == [(admin, Notify.NEVER) for admin in admins]
    assert read(report).whole["To"] == "ann@example.org"


def test_a_report_that_could_not_go_on_there_stays_with_its_reader() -> None:
    """An address beyond ASCII needs SMTPUTF8, which the report of an ASCII sender does not have."""
    reporter = Reporter(ReportSettings("gateway.example.lan"), lambda address: (parse_mailbox("jörg@example.org"),))
    report = reporter.compose(a_message(), [told()], None, NOW)
    assert report is not None and [str(one.address) for one in report.recipients] == ["ann@example.org"]


def test_recipients_that_fail_together_stand_in_one_report() -> None:
    """RFC 3461 §5.2.8; one mail a recipient is how a wrong list fills a mailbox."""
    report = read(a_reporter().compose(a_message(), [told(f"r{n}@example.net") for n in range(5)], None, NOW))
    assert [fields["Final-Recipient"] for fields in report.of_recipients] == [
        f"rfc822; r{n}@example.net" for n in range(5)
    ]


def test_who_did_not_want_to_hear_is_not_told_of() -> None:
    """RFC 3461 §5.2.8: recipients without a wish for this outcome SHOULD NOT stand in the report of the others."""
    finals = [told("bob@example.net", notify=Notify.NEVER), told("carol@example.net"), delayed(notify=Notify.FAILURE)]
    report = read(a_reporter().compose(a_message(), finals, None, NOW))
    assert [fields["Final-Recipient"] for fields in report.of_recipients] == ["rfc822; carol@example.net"]
    assert "bob@example.net" not in report.text


def test_no_report_where_nobody_wants_one() -> None:
    assert a_reporter().compose(a_message(), [told(notify=Notify.SUCCESS | Notify.DELAY)], None, NOW) is None
    assert a_reporter().compose(a_message(), [], None, NOW) is None


@pytest.mark.parametrize("finals", [[told()], [delayed()], [relayed()]])
def test_no_report_to_the_null_sender(finals: list) -> None:
    """RFC 5321 §6.1: a server MUST NOT answer a report with a report."""
    assert a_reporter().compose(a_message(sender=None), finals, None, NOW) is None


def test_mixed_outcomes_are_named_by_the_gravest() -> None:
    finals = [relayed("rita@example.net"), delayed("dora@example.net"), told("bob@example.net")]
    report = read(a_reporter().compose(a_message(), finals, None, NOW))
    assert report.whole["Subject"] == "Undelivered: Invoice 4711"
    assert {fields["Action"] for fields in report.of_recipients} == {"failed", "delayed", "relayed"}


def test_a_failed_message_is_given_back_whole() -> None:
    report = a_reporter().compose(a_message(), [told()], None, NOW)
    assert report is not None and HEAD + CONTENT in report.content
    assert read(report).original.get_content_type() == "message/rfc822"


@pytest.mark.parametrize(
    ("finals", "envelope"),
    [([told()], {"ret": Ret.HDRS}), ([delayed()], {"ret": Ret.FULL}), ([relayed()], {"ret": Ret.FULL})],
    ids=["RET=HDRS", "delay", "success"],
)
def test_only_the_header_section_is_given_back(finals: list, envelope: dict) -> None:
    """RFC 3461 §4.3, and §6.2: a report without a failure SHOULD return only the header section."""
    report = a_reporter().compose(a_message(**envelope), finals, None, NOW)
    original = read(report).original
    assert original.get_content_type() == "text/rfc822-headers"
    assert "4711@example.org" in original.get_content()
    assert "Please pay" not in report.content.decode()


def test_a_large_message_is_not_given_back_whole() -> None:
    message = a_message(ret=Ret.FULL)
    reporter = a_reporter(full_limit_octets=message.size - 1)
    assert read(reporter.compose(message, [told()], None, NOW)).original.get_content_type() == "text/rfc822-headers"
    reporter = a_reporter(full_limit_octets=message.size)
    assert read(reporter.compose(message, [told()], None, NOW)).original.get_content_type() == "message/rfc822"


def test_of_content_that_is_not_all_there_the_header_section_is_given_back() -> None:
    """A large message is read in pieces; half a body is not given back as if it were the message."""
    message = a_message(content=None, size=len(HEAD) + 9000)
    reporter = a_reporter()
    assert reporter.content_wanted(message, [told()]) >= 9000
    report = reporter.compose(message, [told()], CONTENT, NOW)
    assert read(report).original.get_content_type() == "text/rfc822-headers"
    assert read(reporter.compose(message, [told()], None, NOW)).original.get_content().strip() == HEAD.decode().strip()


def test_8bit_content_makes_an_8bit_report() -> None:
    """RFC 6152 §3: the next hop must know, and convert it where it takes 7 bits only."""
    content = "Subject: x\r\n\r\nZahlen Sie für Müller.\r\n".encode()
    report = a_reporter().compose(a_message(content), [told()], None, NOW)
    assert report is not None
    assert report.envelope.body is Body.EIGHTBIT
    assert report.envelope.smtputf8 is False
    assert content in report.content


@pytest.mark.parametrize("body", [b"\0", b"a\nb\r\n", b"a\rb\r\n", b"x" * 999])
def test_binary_content_is_not_given_back(body: bytes) -> None:
    """RFC 3030 §3: only a hop with BINARYMIME may get it, and a bare line end could forge the end of the report."""
    report = a_reporter().compose(a_message(b"Subject: x\r\n\r\n" + body, body=Body.BINARY), [told()], None, NOW)
    assert report is not None
    assert report.envelope.body is Body.SEVENBIT
    assert read(report).original.get_content_type() == "text/rfc822-headers"


# -- reports that cannot be delivered ------------------------------------------------------------------


def test_an_undeliverable_report_is_held_by_default() -> None:
    assert a_reporter().undeliverable(a_message(sender=None), [told()], None, NOW) == "hold"
    assert a_reporter(postmaster=POSTMASTER).undeliverable(a_message(sender=None), [told()], None, NOW) == "hold"


def test_an_undeliverable_report_is_discarded_by_setting() -> None:
    reporter = a_reporter(double_bounce="discard")
    assert reporter.undeliverable(a_message(sender=None), [told()], None, NOW) == "discard"


def test_without_a_postmaster_it_is_held() -> None:
    assert a_reporter(double_bounce="postmaster").undeliverable(a_message(sender=None), [told()], None, NOW) == "hold"


def notifying(**settings: object):
    return a_reporter(double_bounce="postmaster", postmaster=POSTMASTER, **settings)


def test_the_postmaster_gets_a_notice_by_setting() -> None:
    """RFC 3461 §5.2: the postmaster SHOULD be told, by a way that causes no report itself."""
    notice = notifying().undeliverable(a_message(sender=None), [told(notify=Notify.NEVER)], None, NOW)
    assert isinstance(notice, Composed)
    assert notice.envelope.reverse_path is None
    [recipient] = notice.recipients
    assert (recipient.address, recipient.notify) == (POSTMASTER, Notify.NEVER)
    report = read(notice)
    assert report.whole["Subject"] == "Undeliverable report: Invoice 4711"
    assert report.whole["Auto-Submitted"] == "auto-generated"
    assert [fields["Final-Recipient"] for fields in report.of_recipients] == ["rfc822; bob@example.net"]
    assert CONTENT in notice.content


@pytest.mark.parametrize("address", ["Post@Example.ORG", "postmaster@gateway.example.lan"])
def test_a_notice_that_cannot_be_delivered_is_held(address: str) -> None:
    """A notice of a notice would go round for ever."""
    assert notifying().undeliverable(a_message(sender=None), [told(address)], None, NOW) == "hold"


def test_a_notice_that_another_server_sends_back_to_anyone_is_held() -> None:
    """Two servers whose postmasters are each other's dead addresses must not play tennis."""
    notice = notifying().undeliverable(a_message(sender=None), [told()], None, NOW)
    assert isinstance(notice, Composed)
    returned = b"Subject: failure notice\r\n\r\nHere it is:\r\n\r\n" + notice.content
    assert notifying().undeliverable(a_message(returned, sender=None), [told()], None, NOW) == "hold"


def test_a_storm_does_not_reach_the_postmaster() -> None:
    """Reports to forged senders come by the thousand; so many mails help no postmaster."""
    reporter = notifying(notices_per_hour=3)
    answers = [reporter.undeliverable(a_message(sender=None), [told()], None, NOW + n) for n in range(5)]
    assert [answer == "hold" for answer in answers] == [False, False, False, True, True]
    assert isinstance(reporter.undeliverable(a_message(sender=None), [told()], None, NOW + 3600), Composed)


def test_success_of_a_report_is_nobodys_concern() -> None:
    assert notifying().undeliverable(a_message(sender=None), [relayed(action=Action.DELIVERED)], None, NOW) == "discard"
