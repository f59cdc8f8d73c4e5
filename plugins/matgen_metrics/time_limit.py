"""An end to what one crystal may cost: published algorithms can take hours on a strange cell."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TookTooLong(BaseException):
    """The time was used up.

    No ``Exception``: the code that is interrupted may catch those and go on.
    """


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the block when it has used this much processor time.

    Processor time and not the clock's: which crystals are given up must not depend on what else
    the machine does. It is looked at between two Python instructions, so a single long call into
    compiled code is finished first. Signals are needed: on Windows, and outside of a process's main
    thread, nothing is limited.

    Raises:
        TookTooLong: it has.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TookTooLong(f"more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
