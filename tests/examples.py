"""How many examples Hypothesis tries."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

_TIMES = float(os.environ.get("RELAY_EXAMPLES", "1"))


def examples(usually: int, **others: Any) -> settings:
    """So many in each run of the tests; RELAY_EXAMPLES times as many by hand."""
    return settings(max_examples=max(1, round(usually * _TIMES)), deadline=None, **others)
