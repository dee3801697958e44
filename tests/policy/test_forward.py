"""Forwarding, and what becomes of the sender's wishes on the way (RFC 3461 §5.2.7)."""

from __future__ import annotations

import pytest

from relay.message.address import Address, parse_mailbox
from relay.message.envelope import Notify, Recipient
from relay.policy.access import Domains
from relay.policy.forward import Forward, Forwarding
from relay.policy.policy import Policy, PolicySettings, Service, Whom
from relay.policy.recipients import entry_key, parse_recipients
from relay.policy.verdict import Accepted, Refused, Verdict


def entries(table: dict[str, object]) -> dict[str, Forward]:
    found = {}
    for key, value in table.items():
        targets = [value] if isinstance(value, str) else value
        if not isinstance(value, Forward):
            assert isinstance(targets, list)
            value = Forward(tuple(parse_mailbox(target) for target in targets), place=f"forward.{key}")
        found[entry_key(key)] = value
    return found


def forwarding(table: dict[str, object], **more: object) -> Policy:
    settings = PolicySettings(domains=("ours.example", "second.example"), forward=entries(table), **more)
    return Policy(settings)


def to(which: Policy, address: str, ip: str = "203.0.113.9", **more: object) -> Verdict:
    return which.recipient(which.client(ip), Service.RELAY, parse_mailbox(address), **more)


def targets(verdict: Verdict) -> list[str]:
    assert isinstance(verdict, Accepted), verdict
    return [str(recipient.address) for recipient in verdict.recipients]


def test_one_address_becomes_several() -> None:
    which = forwarding({"sales@ours.example": ["ann@else.example", "bob@else.example"]})
    assert targets(to(which, "Sales@ours.example")) == ["ann@else.example", "bob@else.example"]


def test_targets_are_looked_up_again() -> None:
    which = forwarding(
        {
            "all@ours.example": ["sales@ours.example", "c@x.example"],
            "sales@ours.example": ["a@x.example", "b@x.example"],
        }
    )
    assert targets(to(which, "all@ours.example")) == ["a@x.example", "b@x.example", "c@x.example"]


def test_nobody_gets_it_twice() -> None:
    which = forwarding(
        {"all@ours.example": ["a@x.example", "some@ours.example"], "some@ours.example": ["a@X.EXAMPLE", "b@x.example"]}
    )
    assert targets(to(which, "all@ours.example")) == ["a@x.example", "b@x.example"]


def test_an_address_that_stands_for_itself_keeps_a_copy() -> None:
    which = forwarding({"ann@ours.example": ["ann@ours.example", "archive@x.example"]})
    assert targets(to(which, "ann@ours.example")) == ["ann@ours.example", "archive@x.example"]


@pytest.mark.parametrize("start", ["a@ours.example", "b@ours.example", "list@ours.example"])
def test_a_circle_is_found(start: str) -> None:
    which = forwarding(
        {
            "a@ours.example": "b@ours.example",
            "b@ours.example": "c@ours.example",
            "c@ours.example": "a@ours.example",
            "list@ours.example": ["x@x.example", "a@ours.example"],
        }
    )
    verdict = to(which, start)
    assert isinstance(verdict, Refused)
    assert (verdict.reply.code, verdict.reply.enhanced) == (550, "5.4.6")


def test_a_checker_hears_of_circles() -> None:
    table = entries(
        {"a@ours.example": "b@ours.example", "b@ours.example": "a@ours.example", "c@ours.example": "d@x.example"}
    )
    assert [key for key, _ in Forwarding(table, Domains(["ours.example"]), 100).faults()] == [
        "a@ours.example",
        "b@ours.example",
    ]


def test_a_bare_local_part_counts_in_every_domain_of_ours_and_in_no_other() -> None:
    which = forwarding({"abuse": "ann@x.example"})
    assert targets(to(which, "abuse@second.example")) == ["ann@x.example"]
    assert targets(to(which, "abuse@else.example", "127.0.0.1")) == ["abuse@else.example"]


@pytest.mark.parametrize("domain", ["gate.example", "localhost", "users.example"])
def test_a_bare_local_part_counts_for_the_users_of_this_machine_too(domain: str) -> None:
    """Mail for root of this machine; and that opens no door to strangers."""
    which = forwarding({"root": "ann@x.example"}, hostname="gate.example", local_domains=("users.example",))
    assert targets(to(which, f"root@{domain}", "127.0.0.1")) == ["ann@x.example"]
    assert targets(to(which, f"eve@{domain}", "127.0.0.1")) == [f"eve@{domain}"]
    assert to(which, f"root@{domain}").reply.code == 550


def test_where_mail_of_our_own_goes_on_to() -> None:
    which = forwarding({"root": ["a@x.example", "b@x.example"], "x": "y@ours.example", "y": "x@ours.example"})

    def forwarded(address: str) -> list[str]:
        return [str(one) for one in which.forwarded(parse_mailbox(address))]

    assert forwarded("root@ours.example") == ["a@x.example", "b@x.example"]
    assert forwarded("ann@else.example") == ["ann@else.example"]
    assert forwarded("x@ours.example") == ["x@ours.example"], "a circle takes nothing away"
    assert forwarded("postmaster@ours.example") == ["postmaster@ours.example"]
    which = forwarding({}, postmaster=Address("admin", "x.example"))
    assert forwarded("postmaster@ours.example") == ["admin@x.example"]


def test_the_exact_address_wins_over_the_local_part_and_that_over_the_catch_all() -> None:
    which = forwarding({"@ours.example": "rest@x.example", "abuse": "b@x.example", "abuse@ours.example": "a@x.example"})
    assert targets(to(which, "abuse@ours.example")) == ["a@x.example"]
    assert targets(to(which, "abuse@second.example")) == ["b@x.example"]
    assert targets(to(which, "anything@ours.example")) == ["rest@x.example"]


def test_a_catch_all_does_not_take_the_mail_of_those_who_exist() -> None:
    which = forwarding({"@ours.example": "rest@x.example"}, recipients_listed=True)
    which.recipients = parse_recipients("ann@ours.example")
    assert targets(to(which, "ann@ours.example")) == ["ann@ours.example"]
    assert targets(to(which, "eve@ours.example")) == ["rest@x.example"]


def test_a_catch_all_may_lead_into_its_own_domain() -> None:
    which = forwarding({"@ours.example": "all@ours.example"})
    assert targets(to(which, "eve@ours.example")) == ["all@ours.example"]


def test_a_quoted_local_part_is_no_address_and_no_domain() -> None:
    which = forwarding({"ann@ours.example": "x@x.example", "@ours.example": "y@x.example"})
    quoted = to(which, '"ann@ours.example"@second.example', "127.0.0.1")
    assert targets(quoted) == ['"ann@ours.example"@second.example']


def test_an_expansion_is_bounded() -> None:
    """10 lists of 10, six deep, would be a million recipients."""
    table: dict[str, object] = {
        f"l{n}@ours.example": [f"l{n + 1}@ours.example"] + [f"u{n}x{m}@x.example" for m in range(300)] for n in range(6)
    }
    verdict = to(forwarding(table), "l0@ours.example")
    assert isinstance(verdict, Refused)
    assert verdict.reply.code == 451  # our configuration is to blame, not the sender


def test_an_expansion_that_meets_the_same_targets_again_and_again_is_bounded_in_time() -> None:
    """Two entries a level, each naming both of the next: 2**40 ways to the same few addresses."""
    table: dict[str, object] = {}
    for level in range(40):
        for side in "ab":
            table[f"{side}{level}@ours.example"] = [f"a{level + 1}@ours.example", f"b{level + 1}@ours.example"]
    verdict = to(forwarding(table), "a0@ours.example")
    assert verdict.reply.code in (250, 451)


def test_somebody_who_moved_is_referred_and_nothing_is_taken() -> None:
    which = forwarding({"old@ours.example": Forward(refer=Address("new", "x.example"))})
    verdict = to(which, "old@ours.example")
    assert isinstance(verdict, Refused)
    assert str(verdict.reply) == "551 5.1.6 User not local; please try <new@x.example>"


def test_a_list_follows_those_who_moved() -> None:
    which = forwarding(
        {
            "old@ours.example": Forward(refer=Address("new", "x.example")),
            "all@ours.example": ["old@ours.example", "b@x.example"],
        }
    )
    assert targets(to(which, "all@ours.example")) == ["new@x.example", "b@x.example"]


@pytest.mark.parametrize(
    "ip, whom, tell, expected",
    [
        ("127.0.0.1", Whom.TRUSTED, None, 251),
        ("203.0.113.9", Whom.TRUSTED, None, 250),
        ("203.0.113.9", Whom.ANYBODY, None, 251),
        ("127.0.0.1", Whom.NOBODY, None, 250),
        ("203.0.113.9", Whom.TRUSTED, True, 251),
        ("127.0.0.1", Whom.ANYBODY, False, 250),
    ],
)
def test_the_new_path_is_told_to_those_who_may_know(ip: str, whom: Whom, tell: bool | None, expected: int) -> None:
    """RFC 5321 §3.4: 251 tells an address that its owner may not want told."""
    which = forwarding({"ann@ours.example": Forward((Address("ann", "x.example"),), tell=tell)}, tell_forwarding=whom)
    assert to(which, "ann@ours.example", ip).reply.code == expected


def test_several_new_paths_are_not_told() -> None:
    which = forwarding({"all@ours.example": ["a@x.example", "b@x.example"]})
    assert to(which, "all@ours.example", "127.0.0.1").reply.code == 250


def test_a_target_beyond_ascii_needs_smtputf8() -> None:
    which = forwarding({"ann@ours.example": "jürgen@x.example"})
    assert to(which, "ann@ours.example", smtputf8=False).reply.enhanced == "5.6.7"
    assert targets(to(which, "ann@ours.example", smtputf8=True)) == ["jürgen@x.example"]


def test_a_foreign_address_is_forwarded_for_our_clients_only() -> None:
    which = forwarding({"ann@else.example": "ann@x.example"})
    assert targets(to(which, "ann@else.example", "127.0.0.1")) == ["ann@x.example"]
    assert to(which, "ann@else.example").reply.code == 550


# -- the sender's wishes -----------------------------------------------------------------------

ALL = Notify.SUCCESS | Notify.FAILURE | Notify.DELAY


def test_a_single_alias_passes_everything_on() -> None:
    """RFC 3461 §5.2.7.2."""
    which = forwarding({"ann@ours.example": "ann@x.example"})
    verdict = to(which, "ann@ours.example", notify=ALL, orcpt="rfc822;first@y.example")
    assert isinstance(verdict, Accepted)
    assert verdict.recipients == (Recipient(Address("ann", "x.example"), ALL, "rfc822;first@y.example"),)
    assert verdict.expanded is None


def test_a_changed_address_keeps_the_original_as_orcpt() -> None:
    verdict = to(forwarding({"ann@ours.example": "ann@x.example"}), "Ann@ours.example")
    assert isinstance(verdict, Accepted)
    assert verdict.recipients[0].orcpt == "rfc822;Ann@ours.example"


@pytest.mark.parametrize("targets", ["a@x.example", ["a@x.example", "b@x.example"]])
@pytest.mark.parametrize("notify", [None, ALL])
@pytest.mark.parametrize("orcpt", [None, "rfc822;first@y.example"])
def test_an_original_address_that_nobody_gave_is_known_as_ours(
    targets: str | list[str], notify: Notify | None, orcpt: str | None
) -> None:
    """RFC 3461 §6.3 (d): it does not stand in our report."""
    verdict = to(forwarding({"ann@ours.example": targets}), "ann@ours.example", notify=notify, orcpt=orcpt)
    assert isinstance(verdict, Accepted)
    assert {one.orcpt_is_ours for one in verdict.recipients} == {orcpt is None}


def test_an_address_that_is_not_changed_gets_no_orcpt() -> None:
    verdict = to(forwarding({"eve": "x@x.example"}), "ann@ours.example")
    assert isinstance(verdict, Accepted)
    assert verdict.recipients[0].orcpt is None


@pytest.mark.parametrize(
    "asked, passed_on, expanded",
    [
        (None, None, False),
        (Notify.NEVER, Notify.NEVER, False),
        (Notify.FAILURE, Notify.FAILURE, False),
        (ALL, Notify.FAILURE | Notify.DELAY, True),
        (Notify.SUCCESS, Notify.NEVER, True),
    ],
)
def test_a_list_of_several_reports_success_once_as_expanded(
    asked: Notify | None, passed_on: Notify | None, expanded: bool
) -> None:
    """RFC 3461 §5.2.7.3 c."""
    which = forwarding({"all@ours.example": ["a@x.example", "b@x.example"]})
    verdict = to(which, "all@ours.example", notify=asked)
    assert isinstance(verdict, Accepted)
    assert [recipient.notify for recipient in verdict.recipients] == [passed_on, passed_on]
    assert [recipient.orcpt for recipient in verdict.recipients] == ["rfc822;all@ours.example"] * 2
    assert (verdict.expanded is not None) is expanded
    if verdict.expanded is not None:
        assert verdict.expanded.address == Address("all", "ours.example")


def test_postmaster_goes_where_forward_says() -> None:
    which = forwarding({"postmaster": ["ann@ours.example", "bob@x.example"]}, postmaster=Address("admin", "x.example"))
    assert targets(to(which, "postmaster@second.example")) == ["ann@ours.example", "bob@x.example"]


def test_a_circle_does_not_cut_postmaster_off() -> None:
    which = forwarding(
        {"postmaster@ours.example": "a@ours.example", "a@ours.example": "postmaster@ours.example"},
        postmaster=Address("admin", "x.example"),
    )
    assert targets(to(which, "postmaster@ours.example")) == ["admin@x.example"]
