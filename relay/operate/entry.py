"""The console script: ``relay``, or ``sendmail``, ``mailq`` or ``newaliases`` when it is called by a link of that name.

Programs call sendmail for each message they send, so it must not wait for all that the command line of ``relay`` loads.
"""

from __future__ import annotations

import sys

from relay.operate.sendmail.program import main as sendmail
from relay.operate.sendmail.program import program_name
from relay.operate.streams import fill_in


def main() -> None:
    """Ends the process with the exit code."""
    fill_in()
    name, arguments = program_name(sys.argv[0]), sys.argv[1:]
    if name is None and arguments[:1] == ["sendmail"]:
        name, arguments = "sendmail", arguments[1:]
    if name is not None:
        sys.exit(sendmail(name, arguments))
    from relay.operate import cli

    cli.main()
