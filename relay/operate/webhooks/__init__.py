"""Telling others by HTTP what became of mail: webhooks.

    events.py     from the journal's entries to events (pure)
    signature.py  how a request is signed (pure; Standard Webhooks)
    courier.py    brings one journal's events to one receiver, in order, for as long as that takes
    couriers.py   all of them, of one process

The journal is the outbox: an outcome is in it by the same transaction that makes it one, and what a receiver has not
taken yet is there after a restart.  A receiver that is down costs a place in the journal, and no mail waits for it.
"""
