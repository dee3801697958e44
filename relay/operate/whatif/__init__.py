"""What another configuration would make of the mail of the past days: the journal's envelopes, through both.

    past.py         an envelope, as the journal has it
    house.py        what a configuration makes of an envelope: by the session, the policy and the routes of live mail
    fate.py         ... which is, for each recipient, a fate
    differing.py    what is different between two fates
    tally.py        how often, in groups, with examples
    replay.py       one envelope after the other, none decided twice

Nobody is asked: neither the DNS nor a host nor whoever keeps the passwords.  So routes are compared by the table alone,
and a login is taken to be right where there is such a user.  What an envelope does not hold is not replayed: content,
how many connect at one time, how full the disk is.
"""
