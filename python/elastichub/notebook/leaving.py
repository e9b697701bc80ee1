"""The last seconds of a server that is replaced.

Kubernetes makes the next Pod when it ends the former one, and the next server needs seconds to
start. JupyterLab tries again ever more rarely, so a page that loses its socket at once is back long
after that. So this server goes on for a moment for the pages that are open, unless it was stopped.
"""

from __future__ import annotations

import asyncio
import signal
import threading

from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError

LINGER = 6.0  # seconds; a Pod is killed 10 after it was told to end, and has to end until then
PATIENCE = 1.0  # seconds for the gateway to say that its notebook has not been stopped


def let_threads_end():
    """Has the threads in which anyio reads and writes files end with the main thread, whichever way that ends.

    A process waits for its threads. anyio ends each when the task is over that began it; one that is
    under way when the loop stops, as a page's own or the write of a notebook, never is, and
    Kubernetes would have to kill the server. What a thread has begun it still does.
    """
    threading.Thread(target=_end_threads, name="elastichub ends anyio's threads", daemon=True).start()


def _end_threads():
    threading.main_thread().join()
    for thread in threading.enumerate():
        stop = getattr(thread, "stop", None)  # anyio calls it itself; it has no public name
        if type(thread).__module__.startswith("anyio.") and stop is not None:
            stop()


class Leaving:
    """Takes the place of jupyter_server's handler of SIGTERM, and calls it in the end.

    ask() is answered by the gateway as long as it takes this server's token, and raises HTTPError
    else; there() reports whether pages are connected to kernels at the gateway.
    """

    def __init__(self, ask, there, log):
        self._ask = ask
        self._there = there
        self._log = log
        self._task: asyncio.Future | None = None

    def install(self):
        """Called in the event loop of the main thread; elsewhere nothing changes."""
        end = signal.getsignal(signal.SIGTERM)
        if not callable(end):
            return

        def told():
            if self._task is None:
                self._task = asyncio.ensure_future(self._leave(end))
            else:  # twice: there is a hurry
                self._task.cancel()

        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told)
        except (NotImplementedError, RuntimeError, ValueError):
            self._log.debug("SIGTERM ends this server at once")

    async def _leave(self, end):
        try:
            if self._there() and await self._is_replaced():
                self._log.info("open pages are served for %.0f s more", LINGER)
                await asyncio.sleep(LINGER)
        finally:
            end(signal.SIGTERM, None)

    async def _is_replaced(self):
        try:
            await asyncio.wait_for(self._ask(), PATIENCE)
        except (HTTPError, HTTPClientError, OSError, asyncio.TimeoutError) as error:
            self._log.debug("this server ends at once: %r", error)
            return False
        return True
