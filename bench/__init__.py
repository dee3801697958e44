"""The side-by-side benchmark against real peers.  ``python -m bench --help``."""
