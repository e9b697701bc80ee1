"""Kernelspecs of the gateway for programs that start kernels themselves, in this server's terminals.

jupyter_client knows only kernelspecs that are directories. Those written here start a bridge, and
are found by way of JUPYTER_PATH, which terminals and local kernels inherit from this process.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir


class TerminalKernelSpecs:
    """A directory that holds what the gateway offers."""

    def __init__(self, environ=os.environ, usual=()):
        """usual are (language, name) of kernels that notebooks made elsewhere ask for: where the
        gateway has none of that name, one of that language stands in."""
        self._usual = list(usual)
        self.path = Path(jupyter_runtime_dir()) / "elastichub" / str(os.getpid())
        self._environ = environ
        self._written: dict[str, dict] = {}

    def announce(self):
        """Lets the children of this process find the directory, before all others."""
        found = self._environ.get("JUPYTER_PATH", "")
        if str(self.path) not in found.split(os.pathsep):
            self._environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(self.path), found]))

    def write(self, offered):
        """Makes the directory say what the gateway offers: the answer of its /api/kernelspecs, by name."""
        wanted = {name: _bridging(name, found["spec"]) for name, found in offered.items()}
        for language, name in self._usual:
            specs = [found["spec"] for found in offered.values()]
            speaking = [spec for spec in specs if spec.get("language", "").lower() == language]
            if speaking and name not in wanted:
                # The bridge chooses, and says so, as the server itself does for a page.
                wanted[name] = _bridging(name, {**speaking[0], "display_name": f"{name}, at the gateway"})
        kernels = self.path / "kernels"
        for name in self._written.keys() - wanted.keys():
            shutil.rmtree(kernels / name, ignore_errors=True)
        for name, spec in wanted.items():
            if self._written.get(name) != spec:
                (kernels / name).mkdir(parents=True, exist_ok=True)
                temporary = kernels / name / ".kernel.json"
                temporary.write_text(json.dumps(spec), encoding="utf-8")
                temporary.replace(kernels / name / "kernel.json")
        self._written = wanted


def _bridging(name, spec):
    arguments = ["-m", "elastichub.notebook.bridge", "--kernel", name, "-f", "{connection_file}"]
    return {
        "argv": [sys.executable, "-s", *arguments],
        "display_name": spec.get("display_name", name),
        "language": spec.get("language", ""),
        "interrupt_mode": "message",
        "metadata": spec.get("metadata", {}),
    }
