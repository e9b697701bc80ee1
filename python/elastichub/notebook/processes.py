"""The processes beside this server: terminals in which a command runs, and what else is at work.

Linux tells it in /proc. A command runs in a terminal if the process group in front of it is not a
shell at its prompt. A program that waits for keys (an editor, a pager, a prompt) has switched the
terminal's line editing off, and is at rest: keys are use, waiting for them is not.
"""

from __future__ import annotations

import os
import termios
import time
from collections import deque
from pathlib import PurePath
from typing import NamedTuple

WINDOW = 60.0  # seconds over which CPU time is measured
BUSY_CPU = 0.05  # cores; less is the noise of what waits. As kernels.busyCPU of the chart

_CLOCK_TICK = os.sysconf("SC_CLK_TCK")
_PSEUDO_TERMINALS = 136  # major number, Documentation/admin-guide/devices.txt of Linux

# Shells that edit no lines, so that they look alike at a prompt and elsewhere.
_PLAIN_SHELLS = {"sh", "dash", "ash", "ksh", "mksh", "csh"}
# They run notebooks, which takes no CPU time where the kernel is elsewhere.
_RUN_NOTEBOOKS = {"jupyter-nbconvert", "nbconvert", "papermill", "jupyter-execute", "jupyter-run"}
# What they wait for is on another machine; they wait for keys all the time.
_ELSEWHERE = {"ssh", "mosh-client", "sshd-session"}


class Process(NamedTuple):
    pid: int
    parent: int
    group: int
    session: int
    terminal: int  # the device number of its terminal; 0: none
    front: int  # the process group in front of that terminal
    cpu: float  # seconds, with those of children that have ended
    began: float  # seconds after the machine
    name: str  # its first 15 characters
    arguments: tuple[str, ...]


class Work(NamedTuple):
    """Something in front of a terminal, or a process."""

    process: Process
    terminal: int  # a device number; 0: it is none


def read_processes(proc="/proc"):
    """Those of this process's container, by pid. Error: OSError if there is no such place."""
    own = _cgroup(f"{proc}/self")
    found = {}
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            process = _read(f"{proc}/{entry}")
            if process is not None and _cgroup(f"{proc}/{entry}") == own:
                found[process.pid] = process
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return found


def _cgroup(directory):
    """That of a container. Not every sandbox has them."""
    try:
        return _text(f"{directory}/cgroup")
    except FileNotFoundError:
        return ""


def _text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _read(directory):
    """None for one that has ended and is not yet forgotten. The fields are those of proc_pid_stat(5)."""
    head, _, rest = _text(f"{directory}/stat").rpartition(")")
    pid, _, name = head.partition(" (")
    state, *field = rest.split()
    if state in "ZXx":
        return None
    number = [int(text) for text in field]
    arguments = tuple(_text(f"{directory}/cmdline").rstrip("\0").split("\0"))
    parent, group, session, terminal, front = number[:5]
    cpu, began = sum(number[10:14]) / _CLOCK_TICK, number[18] / _CLOCK_TICK
    return Process(int(pid), parent, group, session, terminal, front, cpu, began, name, arguments)


def program(process):
    """What it runs: a script or module rather than its interpreter."""
    words = iter(process.arguments)
    name = PurePath(next(words, "")).name
    if not name.startswith(("python", "pypy")):
        return name
    for word in words:
        if word == "-m":
            return next(words, name)
        if word in ("-c", "-"):
            return name
        if word in ("-W", "-X"):
            next(words, None)
        elif not word.startswith("-"):
            return PurePath(word).name
    return name


def waits_for_keys(terminal):
    """Whether what is in front of a terminal reads single keys. What cannot be asked does not."""
    major, minor = (terminal >> 8) & 0xFFF, (terminal & 0xFF) | ((terminal >> 12) & 0xFFF00)
    if major != _PSEUDO_TERMINALS:
        return False
    try:
        device = os.open(f"/dev/pts/{minor}", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not termios.tcgetattr(device)[3] & termios.ICANON
    except termios.error:
        return False
    finally:
        os.close(device)


def last_input(process):
    """When what runs in the terminal of a process last read from it, in seconds since the epoch; None
    if it has none. Linux notes it to eight seconds."""
    terminal = process.terminal
    if (terminal >> 8) & 0xFFF != _PSEUDO_TERMINALS:
        return None
    try:
        return os.stat(f"/dev/pts/{(terminal & 0xFF) | ((terminal >> 12) & 0xFFF00)}").st_atime
    except OSError:
        return None


def process_of(pid, proc="/proc"):
    """None if there is no such process."""
    try:
        return _read(f"{proc}/{pid}")
    except (FileNotFoundError, ProcessLookupError):
        return None


def commands(processes, own, is_waiting=waits_for_keys):
    """What runs in terminals, but for that of process `own`: a server may have been started in one."""
    mine = processes[own].terminal if own in processes else 0
    for terminal in sorted({p.terminal for p in processes.values()} - {0, mine}):
        there = [p for p in processes.values() if p.terminal == terminal]
        front = sorted(p for p in there if p.group == p.front)
        if not front or (len(front) == 1 and _is_plain_prompt(front[0])) or is_waiting(terminal):
            continue
        leader = next((p for p in front if p.pid == p.group), front[0])
        yield Work(leader, terminal)


def _is_plain_prompt(process):
    options = all(word.startswith("-") and word != "-c" for word in process.arguments[1:])
    return process.name in _PLAIN_SHELLS and options


def others(processes, own, used):
    """What else is at work; used is what each has used of the CPU, in cores, by pid."""
    above = set(_ancestors(processes, own))
    for process in processes.values():
        computes = used.get(process.pid, 0) >= BUSY_CPU and process.pid not in above
        if computes or _is_session(process, processes) or program(process) in _RUN_NOTEBOOKS:
            yield Work(process, 0)


def _ancestors(processes, pid):
    while pid in processes:
        yield pid
        pid = processes[pid].parent


def _is_session(process, processes):
    """Of ssh, on either side. A server of it that waits for somebody is none."""
    if process.name in _ELSEWHERE:
        return True
    parent = processes.get(process.parent)
    return process.name == "sshd" and parent is not None and parent.name == "sshd"


class Looks:
    """Compares what processes have used with an earlier look."""

    def __init__(self, read=read_processes, clock=time.monotonic):
        self._read = read
        self._clock = clock
        self._former: deque = deque()  # (time, CPU seconds by pid and beginning)

    def look(self):
        """(processes by pid, what each has used since then, in cores)"""
        processes, now = self._read(), self._clock()
        while len(self._former) > 1 and now - self._former[1][0] >= WINDOW:
            self._former.popleft()
        used = {}
        if self._former:
            at, former = self._former[0]
            span = max(now - at, WINDOW)
            for p in processes.values():
                used[p.pid] = (p.cpu - former.get((p.pid, p.began), 0)) / span
        self._former.append((now, {(p.pid, p.began): p.cpu for p in processes.values()}))
        return processes, used
