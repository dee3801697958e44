"""The manual pages, written from the command line and the settings themselves, so that they cannot say anything else.

python -m relay.operate.manual docs/man
"""
