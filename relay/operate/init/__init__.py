"""``relay init``: a relay set up in a few minutes.

    plan       what is decided, and the configuration that it makes
    unit       the systemd unit that goes with it
    lan        the networks that this machine is in
    questions  what is asked
    writing    files, never over others unasked
    trying     the way out asked in truth, a test message sent, and its journey

The command itself is relay.operate.cli.init.
"""
