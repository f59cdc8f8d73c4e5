"""An end to what one crystal or pair may cost: some keep published algorithms for hours."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(BaseException):
    """The time is used up.

    No ``Exception``: the code that is interrupted may catch those and go on.
    """


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``OutOfTime`` in the block once it has used this much processor time.

    Processor time and not the clock's: what is given up must not depend on what else the machine
    does. It is looked at between two Python instructions, so a single long call into
    compiled code is finished first. Signals are needed: with 0 seconds, on Windows, and outside of
    a process's main thread, nothing is limited.

    Raises:
        OutOfTime: it has.
    """
    if seconds <= 0 or not limits_time():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTime(f"more than {seconds:g} s of processor time")

    handler = signal.signal(signal.SIGPROF, end)
    waiting, interval = signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        left, _ = signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, handler)
        if waiting:
            # A limit around this one goes on.
            signal.setitimer(signal.ITIMER_PROF, max(1e-3, waiting - (seconds - left)), interval)


def limits_time() -> bool:
    """Return whether a limit can be kept here."""
    return sys.platform != "win32" and threading.current_thread() is threading.main_thread()
