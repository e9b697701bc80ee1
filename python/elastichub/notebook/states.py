"""Variables of parked kernels that nobody comes back for.

The agent of a kernel keeps its variables in the home, and removes them when the kernel ends. A
kernel that is deleted while it is parked has no agent, and perhaps no other kernel ever uses that
home. The notebook server has the home mounted: it removes what is over, by what each directory says
of its time, and what is of kernels of this notebook that are gone, by what the gateway says. It needs
no key for that. docs/parking-format.md describes the directories.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import stat
from datetime import datetime, timezone

EVERY = 600.0  # seconds between two looks
SOON = 15.0  # seconds after a kernel was started or shut down: the controllers delete it
MANIFEST, SUSPECT, LOCK, CHUNKS, HALF = "manifest", "suspect", "lock", "chunks", ".new"
SEEN = "seen"  # beside the directories: which kernels there were, by holder
FORMAT = 1
MOST_LINE, MOST_SEEN = 4 << 10, 1 << 20  # bytes

_kernel = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}").fullmatch
_chunk = re.compile(r"[0-9a-f]{64}").fullmatch
_instant = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)").fullmatch

# No link is followed on the way down, and a FIFO is not waited for.
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class States:
    """Looks at the start, every EVERY seconds and after each kernel that is started or shut down.

    ask() gives what the gateway answers at /api/states, or None if it does not know that."""

    def __init__(self, home, ask, log):
        self._home = os.fspath(home)
        self._ask = ask
        self._log = log
        self._soon = asyncio.Event()
        self._seen: dict[str, set[str]] = {}  # by this server, before there was anything kept

    def soon(self):
        self._soon.set()

    async def run(self):
        while True:
            await self.look()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._soon.wait(), EVERY)
                await asyncio.sleep(SOON)
            self._soon.clear()

    async def look(self):
        try:
            there = await self._ask()
        except Exception as error:  # noqa: BLE001 - what is over can be removed without it
            self._log.debug("the gateway does not say which kernels there are: %r", error)
            there = None
        try:
            # A home may be slow, and the server has pages to serve.
            gone = await asyncio.to_thread(sweep, self._home, there, datetime.now(timezone.utc), self._seen)
        except Exception as error:  # noqa: BLE001 - it is tried again
            self._log.warning("the variables of kernels that are gone cannot be removed: %r", error)
            return
        if there:
            self._seen.setdefault(there["holder"], set()).update(there["kernels"])
        if gone:
            self._log.info("the variables of kernels that are gone were removed: %s", gone)


def sweep(home, there, now, seen_here=None):
    """Removes what is kept in a home of kernels whose time is over, and of those that the gateway
    knew before of the same holder and does not know any more; gives their names.

    there is the gateway's answer, None for none; seen_here are kernels that it knew before, by holder,
    besides those that are noted in the home. What is in use is left, and what is not the
    store's. Error: OSError if the home cannot be read."""
    try:
        top = _down(home, ".elastichub")
    except OSError:
        return []  # there is nothing, or a link
    with _closing(top):
        try:
            kernels = os.open("kernels", _DIRECTORY, dir_fd=top)
        except OSError:
            return []
        with _closing(kernels):
            found = {name for name in os.listdir(kernels) if _kernel(name)}
            seen = _read_seen(top) if there else {}
            holder, present = (there["holder"], set(there["kernels"])) if there else ("", set())
            ended = ((seen_here or {}).get(holder, set()) | set(seen.get(holder, ()))) - present
            gone, left = [], set()
            for name in sorted(found):
                if name not in ended and not _is_over(kernels, name, now):
                    continue
                if _remove(kernels, name):
                    gone.append(name)
                else:
                    left.add(name)
            if there:
                kept = found - set(gone)
                others = {h: names for h, names in seen.items() if kept.intersection(names)}
                others[holder] = sorted(present | ended & left)
                if others != seen:
                    _write_seen(top, others)
            return gone


@contextlib.contextmanager
def _closing(descriptor):
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _down(home, name):
    with _closing(os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as top:
        return os.open(name, _DIRECTORY, dir_fd=top)


def _read(directory, name, most):
    """The first bytes of a file, which is no link and no FIFO."""
    with open(os.open(name, os.O_RDONLY | _FILE, dir_fd=directory), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{name} is no file")
        return file.read(most)


def _read_seen(top):
    try:
        seen = json.loads(_read(top, SEEN, MOST_SEEN))
        return {str(holder): [str(name) for name in names] for holder, names in seen.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # nobody has been seen: what is over goes all the same


def _write_seen(top, seen):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SEEN + HALF, dir_fd=top)
    descriptor = os.open(SEEN + HALF, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=top)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(seen, file)
    os.rename(SEEN + HALF, SEEN, src_dir_fd=top, dst_dir_fd=top)


def _is_over(kernels, name, now):
    """Whether a manifest says that its time is over. One that cannot be read says nothing."""
    try:
        with _closing(os.open(name, _DIRECTORY, dir_fd=kernels)) as kernel:
            line = _read(kernel, MANIFEST, MOST_LINE).partition(b"\n")[0]
        head = json.loads(line)
        if head["format"] != FORMAT or head["kernel"] != name:
            return False
        told = _instant(head["expires"])
        if told is None:
            return False
        seconds, zone = told.groups()
        return datetime.fromisoformat(seconds + zone.replace("Z", "+00:00")) <= now
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _remove(kernels, name):
    """Removes what is the store's of a kernel, the manifest first, and reports whether nothing is
    left of it: not while it is in use."""
    try:
        with _closing(os.open(name, _DIRECTORY, dir_fd=kernels)) as kernel:
            lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | _FILE, 0o600, dir_fd=kernel)
            with _closing(lock):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for file in (MANIFEST, MANIFEST + HALF, SUSPECT, SUSPECT + HALF):
                    _unlink(kernel, file)
                with contextlib.suppress(OSError):  # it is not there, or something else is in it
                    with _closing(os.open(CHUNKS, _DIRECTORY, dir_fd=kernel)) as chunks:
                        for chunk in os.listdir(chunks):
                            if _chunk(chunk.removesuffix(HALF)):
                                _unlink(chunks, chunk)
                    os.rmdir(CHUNKS, dir_fd=kernel)
                _unlink(kernel, LOCK)
        os.rmdir(name, dir_fd=kernels)
        return True
    except OSError:
        return False


def _unlink(directory, name):
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(name, dir_fd=directory)
