"""What holds for all tests.

Hypothesis tries the same examples in each run of CI, so that a change is judged by itself; by hand it looks for new
ones, and for more of them: ``RELAY_EXAMPLES=20 pytest tests/fuzz`` tries twenty times as many (tests/examples.py).
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("same" if os.environ.get("CI") else "new")
