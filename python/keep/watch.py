"""Interrupts and deadlines while a snapshot is written.

A save gives way at any moment: SIGINT raises in the main thread, also within code of
the user's or a library's that a pickle calls. Some of that code swallows what is raised,
so an interrupt is noted, too, and looked at again before the next write.
"""

import contextlib
import signal
import threading
import time

TICK = 0.5


class Interrupted(BaseException):
    """A cell waits, or the save has taken too long."""

    def __init__(self, outcome):
        super().__init__(outcome)
        self.outcome = outcome


class TooSlow(BaseException):
    """One record has taken too long; the others are not concerned."""


class Watch:
    """Counts the time of a save and of each of its records. Time in which the reader of
    the stream is slow is not a record's."""

    def __init__(self, seconds=None, record_seconds=None):
        self.seconds, self.record_seconds = seconds, record_seconds
        self.began = time.monotonic()
        self.stopped = None
        self._record = None
        self._written = 0.0
        self._writing = False

    def check(self):
        if self.stopped:
            raise Interrupted(self.stopped)

    @contextlib.contextmanager
    def record(self):
        self.check()
        self._written, self._record = 0.0, time.monotonic()
        try:
            yield
        finally:
            self._record = None

    @contextlib.contextmanager
    def writing(self):
        self.check()
        began, self._writing = time.monotonic(), True
        try:
            yield
        finally:
            self._writing = False
            self._written += time.monotonic() - began

    @contextlib.contextmanager
    def armed(self):
        """Takes over the signals for the time of a save. Only the main thread can; elsewhere,
        as in a subshell of ipykernel, the save goes on without them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        began = time.monotonic()
        handlers = {
            # A reader that dies must not end a kernel that has set SIGPIPE to its default.
            number: signal.signal(number, action)
            for number, action in (
                (signal.SIGINT, self._interrupt),
                (signal.SIGPIPE, signal.SIG_IGN),
                (signal.SIGALRM, self._tick),
            )
        }
        left, every = signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
        try:
            yield
        finally:
            if left:
                left = max(left - (time.monotonic() - began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left, every)
            for number, action in handlers.items():
                if action is not None:  # set by something else than Python
                    signal.signal(number, action)

    def _interrupt(self, _number, _frame):
        self.stopped = self.stopped or "interrupted"
        raise Interrupted(self.stopped)

    def _tick(self, _number, _frame):
        now = time.monotonic()
        if self.seconds is not None and now - self.began > self.seconds:
            self.stopped = self.stopped or "deadline"
        if self.stopped:
            raise Interrupted(self.stopped)
        if self._record is None or self._writing or self.record_seconds is None:
            return
        if now - self._record - self._written > self.record_seconds:
            raise TooSlow
