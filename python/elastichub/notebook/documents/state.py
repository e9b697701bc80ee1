"""What the next server needs to go on keeping documents: one file for each page that is away."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

FORMAT = 1


class State:
    """A directory of files. Only this server's user can read them: they hold what cells printed."""

    def __init__(self, directory, log):
        self._directory = Path(directory)
        self._log = log

    def _file(self, key):
        name = hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]
        return self._directory / f"{name}.json"

    def write(self, key, kept):
        """Replaces what is kept for (kernel, session). A directory that cannot be written to is no reason to stop."""
        file = self._file(key)
        temporary = file.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"format": FORMAT, "key": list(key), **kept}, stream)
            temporary.replace(file)
        except OSError as error:
            self._log.warning("what closed pages run would be lost with this server: %r", error)

    def remove(self, key):
        try:
            self._file(key).unlink(missing_ok=True)
        except OSError as error:
            self._log.warning("%s cannot be removed: %r", self._file(key), error)

    def read(self):
        """All that is kept, as (key, kept). What cannot be read is left out."""
        found = []
        for file in sorted(self._directory.glob("*.json")):
            try:
                kept = json.loads(file.read_text(encoding="utf-8"))
                if kept["format"] != FORMAT:
                    raise ValueError(f"format {kept['format']}")
                kernel, session = kept["key"]
                found.append(((str(kernel), str(session)), kept))
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._log.warning("%s is left alone: %r", file, error)
        return found
