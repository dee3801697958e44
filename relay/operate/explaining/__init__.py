"""What would happen to a message, and why; and why one is still here.

    finding    what an explanation is made of, and what it was asked
    premises   what it stands on: the parts of a relay that runs, or of one that is only put together for this
    rehearsal  a listener as it is now, that takes part in nothing and keeps nothing
    way_in     a client's session with it
    causes     what decided where no rule was named, and what would let it pass
    way_out    where the recipients' mail goes now
    hosts      the hosts of a way
    probing    the same, asked in truth as far as RCPT
    standing   a message in the queue

The rules that must not be broken: it is found out by the very code that does it; and nothing is changed by asking.
"""
