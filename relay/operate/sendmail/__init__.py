"""``sendmail``, ``mailq`` and ``newaliases`` as programs know them: the way in for what runs on this machine.

It is quick to start (no reactor, no command-line library) and needs no relay that runs: a message is left in the
maildrop (relay.receive.maildrop) with the rights of whoever calls, and success is said when it is safe there.
"""
