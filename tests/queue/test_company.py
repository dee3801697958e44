"""Waiting for company: only while batches are large."""

from __future__ import annotations

from relay.queue.company import BEGIN_JOBS, END_JOBS, REMEMBERED, Company


def after(company: Company, *sizes: int) -> bool:
    for size in sizes:
        company.left(size)
    return company.is_near


def test_nobody_waits_at_first() -> None:
    assert not Company().is_near


def test_nobody_waits_while_batches_are_small() -> None:
    assert not after(Company(), *[BEGIN_JOBS - 1] * 100)


def test_one_large_batch_is_no_crowd() -> None:
    assert not after(Company(), *[1] * 20, REMEMBERED * (BEGIN_JOBS - 1))


def test_while_batches_are_large_the_next_one_waits() -> None:
    company = Company()
    assert not after(company, *[BEGIN_JOBS] * (REMEMBERED - 1))
    assert after(company, BEGIN_JOBS)


def test_when_waiting_adds_little_nobody_waits_any_more() -> None:
    company = Company()
    after(company, *[BEGIN_JOBS] * REMEMBERED)
    assert after(company, *[END_JOBS] * 100)
    assert not after(company, END_JOBS - 1)


def test_what_batches_were_while_they_waited_is_no_reason_to_wait_again() -> None:
    company = Company()
    after(company, *[BEGIN_JOBS] * REMEMBERED)
    assert not after(company, *[END_JOBS - 1] * REMEMBERED)
    assert not after(company, *[BEGIN_JOBS] * (REMEMBERED - 1))
    assert after(company, BEGIN_JOBS)
