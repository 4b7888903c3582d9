"""Looking again at what was not certain: whether silence was silence."""

from datetime import timedelta
from typing import Final

MAX_GAP_SECONDS: Final = 60


def recheck_gap(times: int) -> timedelta:
    """How long to wait before looking another time, after as many `times` without an answer: longer and longer."""
    return timedelta(seconds=min(2 ** min(times - 1, 10), MAX_GAP_SECONDS))
