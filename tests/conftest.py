"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing about the relay.
settings.register_profile("relay", deadline=None)
settings.load_profile("relay")
