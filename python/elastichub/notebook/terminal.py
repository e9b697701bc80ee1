"""Kernelspecs of the gateway for programs that start kernels themselves, beside this server.

jupyter_client knows only kernelspecs that are directories. Those written here start a bridge, and
are found by way of JUPYTER_PATH. Terminals and local kernels inherit it from this process. What
`kubectl exec` starts has it from the image: an image that names a directory of ours in it,
/tmp/elastichub, has them found there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir

OURS = "elastichub"  # the name of a directory in JUPYTER_PATH that this server writes
SOON = 5.0  # seconds at most until a gateway that has offered nothing yet is asked again
EVERY = 300.0  # seconds between questions while no page asks


class TerminalKernelSpecs:
    """A directory that holds what the gateway offers."""

    def __init__(self, log, environ=os.environ, usual=()):
        """usual are (language, name) of kernels that notebooks made elsewhere ask for: where the
        gateway has none of that name, one of that language stands in."""
        self._usual = list(usual)
        self._log = log
        self._environ = environ
        self.path = self._place()
        self._written: dict[str, dict] | None = None  # None: what a former server has left may be there

    def _place(self):
        for named in _entries(self._environ):
            if not is_ours(named):
                continue
            try:
                (Path(named) / "kernels").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self._log.warning("programs outside of terminals do not find the gateway's kernels: %s", error)
            else:
                return Path(named)
        return Path(jupyter_runtime_dir()) / OURS / str(os.getpid())

    def announce(self):
        """Lets the children of this process find the directory, before all others."""
        others = [entry for entry in _entries(self._environ) if entry != str(self.path)]
        self._environ["JUPYTER_PATH"] = os.pathsep.join([str(self.path), *others])

    async def keep_written(self, list_all):
        """Has list_all ask the gateway, which writes what it offers, also while no page asks."""
        pause = 1.0
        while True:
            try:
                await list_all()
            except Exception as error:  # noqa: BLE001 - it is asked again
                self._log.info("the gateway's kernelspecs are not known yet: %r", error)
            await asyncio.sleep(EVERY if self._written else pause)
            pause = min(2 * pause, SOON)

    def write(self, offered):
        """Makes the directory say what the gateway offers: the answer of its /api/kernelspecs, by name."""
        wanted = {name: _bridging(name, found["spec"]) for name, found in offered.items()}
        for language, name in self._usual:
            specs = [found["spec"] for found in offered.values()]
            speaking = [spec for spec in specs if spec.get("language", "").lower() == language]
            if speaking and name not in wanted:
                # The bridge chooses, and says so, as the server itself does for a page.
                wanted[name] = _bridging(name, {**speaking[0], "display_name": f"{name}, at the gateway"})
        try:
            self._replace(wanted)
        except OSError as error:  # pages find the gateway's kernels without it
            self._log.warning("the gateway's kernelspecs cannot be written for programs: %s", error)

    def _replace(self, wanted):
        kernels = self.path / "kernels"
        kernels.mkdir(parents=True, exist_ok=True)
        written = self._written
        if written is None:
            written = {found.name: {} for found in kernels.iterdir()}
        for name in written.keys() - wanted.keys():
            shutil.rmtree(kernels / name, ignore_errors=True)
        for name, spec in wanted.items():
            if written.get(name) != spec:
                (kernels / name).mkdir(exist_ok=True)
                temporary = kernels / name / ".kernel.json"
                temporary.write_text(json.dumps(spec), encoding="utf-8")
                temporary.replace(kernels / name / "kernel.json")
        self._written = wanted


def is_ours(directory):
    """Whether an entry of JUPYTER_PATH is one that this server writes, and none of kernels of its own."""
    return os.path.basename(directory) == OURS


def _entries(environ):
    return [entry.rstrip(os.sep) for entry in environ.get("JUPYTER_PATH", "").split(os.pathsep) if entry]


def _bridging(name, spec):
    arguments = ["-m", "elastichub.notebook.bridge", "--kernel", name, "-f", "{connection_file}"]
    return {
        "argv": [sys.executable, "-s", *arguments],
        "display_name": spec.get("display_name", name),
        "language": spec.get("language", ""),
        "interrupt_mode": "message",
        "metadata": spec.get("metadata", {}),
    }
