"""The HTTP API under /api/v1: all that the page and the command line can do, for programs.

    operation.py   what an operation is, and what it is given
    models.py      what all questions and answers have in common
    problem.py     what went wrong (RFC 9457)
    overview.py, destinations.py, queue.py, journeys.py, …   the operations, a file for each topic
    dispatch.py    from a request to its operation, and back
    openapi.py     the description, made of the same definitions

An operation asks the control sockets of all shards (relay.operate.inquirer) and adds nothing, so that API, page and
command line say the same.
"""
