"""The contents manager as pages see it, between them and what the server keeps for them.

A page that opens a notebook is given what was printed so far. A page that saves one does not undo
what was printed since it was opened, and is not told that the file has changed when all that has
changed is what the server itself has written into it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from typing import Any, NamedTuple

from jupyter_core.utils import ensure_async

MAX_DOCUMENTS = 256  # whose versions are known


class Version(NamedTuple):
    """Of a file, as the contents API tells it."""

    modified: Any
    hash: str | None

    @classmethod
    def of(cls, model):
        return cls(model.get("last_modified"), model.get("hash"))

    def same(self, other):
        if self.hash and other.hash:
            return self.hash == other.hash
        return self.modified == other.modified


class Document:
    """One notebook file."""

    def __init__(self):
        self.lock = asyncio.Lock()  # held from reading the file until it is written
        self.version: Version | None = None  # that pages or this server made or read last
        self.told: Version | None = None  # that pages are told instead
        self.whole = ""  # a name for what this server has written, if it has, or was about to

    def is_foreign(self, version):
        """Whether somebody else has made this version."""
        return self.version is not None and not self.version.same(version)

    def wrote(self, before, after):
        """This server has made one version of another."""
        if self.told is None:
            self.told = before
        self.version = after

    def read(self, model):
        """A page reads the file with its content."""
        version = Version.of(model)
        if self.is_foreign(version) or self.version is None:
            self.version, self.told = version, None
        self.tell(model)

    def saved(self, model):
        """A page has saved the file."""
        self.version, self.told = Version.of(model), None

    def tell(self, model):
        """Makes a model tell the version that is meant for pages."""
        version = Version.of(model)
        if self.version is None or not self.version.same(version):
            return
        if version.hash and not self.version.hash:
            self.version = version
        if self.told is not None:
            model["last_modified"] = self.told.modified
            if version.hash and self.told.hash:
                model["hash"] = self.told.hash


class Documents:
    """By path; those that were used least go first."""

    def __init__(self):
        self._all: OrderedDict[str, Document] = OrderedDict()

    def __getitem__(self, path):
        document = self._all.setdefault(path, Document())
        self._all.move_to_end(path)
        if len(self._all) > MAX_DOCUMENTS:
            del self._all[next(each for each, there in self._all.items() if not there.lock.locked())]
        return document

    def __contains__(self, path):
        return path in self._all

    def moved(self, path, to):
        if path in self._all:
            self._all[to] = self._all.pop(path)

    def forget(self, path):
        self._all.pop(path, None)


class PagesContents:
    """Takes the contents manager's place where requests are answered; all that it does not know of
    is the manager's own."""

    def __init__(self, manager, notebooks):
        self._manager = manager
        self._notebooks = notebooks

    def __getattr__(self, name):
        return getattr(self._manager, name)

    async def get(self, path, content=True, **wanted):
        name = path.strip("/")
        if content:
            await self._notebooks.flush(name)
        # Not between what this server writes and its knowing which version that is.
        held = self._notebooks.documents[name].lock if name in self._notebooks.documents else contextlib.nullcontext()
        async with held:
            model = await ensure_async(self._manager.get(path, content=content, **wanted))
            if model.get("type") == "notebook":
                self._notebooks.given(name, model, bool(content))
        return model

    async def save(self, model, path=""):
        name = path.strip("/")
        if model.get("type") != "notebook" or not isinstance(model.get("content"), dict):
            return await ensure_async(self._manager.save(model, path))
        async with self._notebooks.documents[name].lock:
            self._notebooks.saving(name, model["content"])
            saved = await ensure_async(self._manager.save(model, path))
            self._notebooks.documents[name].saved(saved)
        return saved

    async def update(self, model, path):
        updated = await ensure_async(self._manager.update(model, path))
        if updated["path"] != path.strip("/"):
            await self._notebooks.moved(path.strip("/"), updated["path"])
        return updated

    async def delete(self, path):
        await ensure_async(self._manager.delete(path))
        self._notebooks.deleted(path.strip("/"))
