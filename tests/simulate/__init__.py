"""The whole relay in a world where one seed decides everything: clock, DNS, network, peers, disk and crashes.

See docs/simulation.md.  ``python -m tests.simulate --seed N --days D`` replays one world with its log.
"""
