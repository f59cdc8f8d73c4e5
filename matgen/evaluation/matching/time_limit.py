"""An end to comparisons that do not end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(Exception):
    """The time for one pair is over."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``OutOfTime`` in the block once it has run for so long.

    Uses the interval timer of the process and its signal; one that was set before goes on after
    the block. Where there is no such signal (Windows), outside of a main thread, and with 0
    seconds, there is no limit.

    Raises:
        OutOfTime: the block took too long.
    """
    if seconds <= 0 or not limits_time():
        yield
        return
    begun = time.monotonic()
    handler = signal.signal(signal.SIGALRM, _raise)
    waiting, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if waiting:
            left = max(1e-3, waiting - (time.monotonic() - begun))
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def limits_time() -> bool:
    """Return whether a limit can be kept here."""
    return hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()


def _raise(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise OutOfTime
