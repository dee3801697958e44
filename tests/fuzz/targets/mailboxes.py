"""Lists of mailboxes: a fault, or addresses that each have a domain when they were given one."""

from __future__ import annotations

from relay.message.mailboxes import MailboxesFault, with_domain, written


def run(octets: bytes) -> None:
    field = octets.decode("utf-8", "surrogateescape")
    qualified = with_domain(field, "d.example")
    try:
        found = written(field)
    except MailboxesFault as fault:
        assert str(fault).isprintable()
        assert qualified == field
        return
    again = written(qualified)
    assert [one.has_domain for one in again] == [True] * len(found)
    assert with_domain(qualified, "d.example") == qualified
    assert qualified.replace("@d.example", "") == field.replace("@d.example", "")
