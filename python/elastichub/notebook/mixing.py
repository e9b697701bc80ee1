"""Kernels of this server and kernels of a gateway, side by side.

jupyter_server has either (jupyter_server#1187). kernels-mixer 0.0.17 does this too, but gives
remote kernels ids of its own, replaces a function of tornado for the whole process and needs
Google's command line configuration; so this is ours. A kernel's id is that of the manager that
has it, and everything about it is asked of that manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.utils import ensure_async
from jupyter_server.gateway.managers import (
    GatewayKernelManager,
    GatewayKernelSpecManager,
    GatewayMappingKernelManager,
)
from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.escape import json_decode, url_escape
from traitlets import default

from .connection import GatewayConnection
from .environments import VARIABLE, Environments, LocalKernelSpecs, is_own
from .frames import text
from .terminal import TerminalKernelSpecs, is_ours

SUFFIX = " (this server)"  # of the names of kernels that run here
FRESH = 1.0  # seconds for which what the gateway said of a kernel is passed on
PATIENCE = 10.0  # seconds for the gateway to answer before the rest is shown without it
UNSURE = 15.0  # seconds from its start in which a server does not say that there are no kernels
FAREWELL = 5.0  # seconds for the gateway to end kernels; a Pod is killed after 10


class GatewayKernelSpecs(GatewayKernelSpecManager):
    """The gateway's kernelspecs, and the user's environments as kernels of them. jupyter_server
    answers 500 for a logo that is not there."""

    terminal: TerminalKernelSpecs | None = None  # set when the server starts
    tells_faults = True  # of environments; nobody else does

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.environments = Environments()
        self._theirs: frozenset[str] = frozenset()  # names of the gateway's own

    async def get_all_specs(self):
        offered = await super().get_all_specs()
        self._theirs = frozenset(offered)
        own = await asyncio.to_thread(self.environments.at_gateway, offered, self.tells_faults)
        offered = {**own, **offered}
        if self.terminal is not None:
            self.terminal.write(offered)
        return offered

    async def of_kernel(self, name):
        """See Environments.of_kernel."""
        if name in self._theirs or not is_own(name):
            return None
        return await asyncio.to_thread(self.environments.of_kernel, name)

    async def get_kernel_spec(self, kernel_name, **kwargs):
        if not is_own(str(kernel_name)):
            return await super().get_kernel_spec(kernel_name, **kwargs)
        specs = await self.get_all_specs()
        if kernel_name not in specs:
            raise KeyError(kernel_name)
        return specs[kernel_name]

    async def get_kernel_spec_resource(self, kernel_name, path):
        resource = await super().get_kernel_spec_resource(kernel_name, path)
        if resource is None:
            raise web.HTTPError(404, f"{kernel_name} has no {path}")
        return resource


class GatewayKernel(GatewayKernelManager):
    """A kernel of the gateway. One in an environment of the user's own has that in its name."""

    _told = float("-inf")  # when the gateway told of it

    async def refresh_model(self, model=None):
        return self._named(await super().refresh_model(model))

    async def start_kernel(self, **kwargs):
        await super().start_kernel(**kwargs)
        self._named(self.kernel)

    def is_fresh(self):
        return time.monotonic() - self._told < FRESH

    def _named(self, model):
        self._told = time.monotonic()
        specs = self.parent.kernel_spec_manager
        if isinstance(specs, GatewayKernelSpecs):  # an image may have configured its own
            specs.environments.name_kernel(model)
        return model


class _Words(str):
    """Text in which tornado doubles no %, as in what it takes for a template: pages would see that."""

    def replace(self, *_args):
        return self


class Refused(web.HTTPError):
    """Why the gateway starts no kernel, in its words. jupyter_server 2.21 shows a page the template
    of its own message, and of an error that it passes on what str() says."""

    def __init__(self, error):
        """From the error of gateway_request."""
        words = str(error)
        with contextlib.suppress(ValueError, AttributeError):
            words = text(json_decode(error.__cause__.response.body), "message") or words
        self.words = _Words(words)
        super().__init__(error.status_code, "%s", self.words)

    @property
    def log_message(self):
        return self.words

    @log_message.setter
    def log_message(self, _):
        """As tornado before 6.5 does it."""

    def __str__(self):
        return self.words


class GatewayKernels(GatewayMappingKernelManager):
    """The gateway's kernels, which outlive this server: what ends them, and what does not, the
    gateway knows. Of another gateway, such as Enterprise Gateway, they end with this server."""

    outliving: bool | None = None  # what the gateway says; None while nobody knows
    changed = staticmethod(lambda: None)  # called when a kernel was started or shut down

    @default("kernel_manager_class")
    def _default_kernel_manager_class(self):
        return f"{__name__}.GatewayKernel"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._began = time.monotonic()

    def check_known(self):
        """Error: HTTPError 503 while the gateway has not said which kernels a former server has
        left. A page takes a list for all there is, and would let go of its own."""
        if self.outliving is None and time.monotonic() - self._began < UNSURE:
            raise web.HTTPError(503, "The gateway has not said yet which kernels there are.")

    async def list_kernels(self, **kwargs):
        self.check_known()
        return await super().list_kernels(**kwargs)

    async def kernel_model(self, kernel_id):
        """As the gateway has the kernel now; jupyter_server says what the last list of all said."""
        kernel: Any = self.get_kernel(str(kernel_id))  # the class with refresh_model, above
        known = kernel.kernel
        if not known or kernel.is_fresh():
            return known
        try:
            if await asyncio.wait_for(kernel.refresh_model(), PATIENCE) is None:
                kernel.kernel = {**known, "execution_state": "dead"}  # until the list is read
        except Exception as error:  # noqa: BLE001 - what is known is better than nothing
            self.log.warning("the gateway does not tell of kernel %s: %r", kernel_id, error)
        return kernel.kernel

    async def adopt(self, models):
        """Takes over kernels that a former server has left; models are the gateway's."""
        for model in models:
            if model["id"] in self:
                continue
            kernel = self.kernel_manager_factory(parent=self, log=self.log)
            kernel.kernel_id = model["id"]
            kernel.kernel_url = url_path_join(kernel.kernels_url, url_escape(model["id"]))
            await kernel.refresh_model(model)
            self._kernels[model["id"]] = kernel
            self.log.info("kernel %s of a former server goes on", model["id"])
        if len(self) and not self._initialized_culler:
            self.initialize_culler()

    async def start_kernel(self, *, kernel_id=None, path=None, **kwargs):
        if kernel_id is None:
            name = kwargs.get("kernel_name") or self.default_kernel_name
            specs, default = self.kernel_spec_manager, self.default_kernel_name
            name = kwargs["kernel_name"] = await _known(name, specs, default, self.log)
            own = await specs.of_kernel(name) if isinstance(specs, GatewayKernelSpecs) else None
            if own is not None:
                kwargs["kernel_name"], environment = own
                kwargs["env"] = {**(kwargs.get("env") or {}), VARIABLE: str(environment.path)}
        try:
            started = await super().start_kernel(kernel_id=kernel_id, path=path, **kwargs)
        except web.HTTPError as error:
            raise Refused(error) from error
        self.changed()
        return started

    async def shutdown_kernel(self, *args, **kwargs):
        await super().shutdown_kernel(*args, **kwargs)
        self.changed()

    async def shutdown_all(self, now=False):
        """Called by jupyter_server when it ends."""
        if self.outliving is False:
            await self.end_all(now=now)
        elif len(self):
            self.log.info("the gateway's kernels go on without this server")

    async def end_all(self, now=False):
        """Ends them within FAREWELL. Where one cannot be ended, jupyter_server would not end
        either, and would wait to be killed."""
        try:
            await asyncio.wait_for(super().shutdown_all(now=now), FAREWELL)
        except Exception as error:  # noqa: BLE001 - nobody is there to be told
            self.log.info("the gateway's kernels are left to the gateway: %r", error)


# What notebooks made elsewhere call the kernel of a language.
_USUAL_NAMES = {"python": r"python[0-9.]*|conda-.*-py|xpython", "r": "ir|xr", "julia": "julia-.*"}
# The commonest of them.
USUAL = [("python", "python3"), ("r", "ir")]


async def _known(name, specs, default, log):
    """The name, or that of a kernel of the same language where there is none of that name."""
    languages = [word for word, usual in _USUAL_NAMES.items() if re.fullmatch(usual, name)]
    if not languages:
        return name
    there = {n: spec for n, spec in (await specs.get_all_specs()).items() if not is_own(n)}
    instead = stand_in(name, languages[0], there, default)
    if instead != name:
        log.warning("there is no kernel %s here: %s is started in its place", name, instead)
    return instead


def stand_in(name, language, there, default):
    """The kernel that is started for a name that stands for a language.

    A notebook made elsewhere says `python3`, and means the Python that there is. there are the
    kernelspecs, by name.
    """
    speaks = {
        n for n, found in there.items() if found["spec"].get("language", "").lower() == language
    }
    if name in there or not speaks:
        return name
    return default if default in speaks else min(speaks)


class MixedKernelSpecs(KernelSpecManager):
    """A name that both have is the gateway's: what an administrator offers is not replaced by
    what somebody has installed."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.remote = GatewayKernelSpecs(**kwargs)
        self.remote.tells_faults = False  # the local ones do
        self.local = LocalKernelSpecs(self.remote.environments, **kwargs)
        # They are read now: what is written for programs is no kernel of this server, neither where
        # the image names its directory nor where it is announced later.
        self.local.kernel_dirs = [there for there in self.local.kernel_dirs if not is_ours(os.path.dirname(there))]
        self._offered = None  # by the gateway when it last answered
        self._hidden = set()

    async def _ask(self):
        """The gateway's kernelspecs; those of the last answer while it gives none."""
        try:
            self._offered = await asyncio.wait_for(self.remote.get_all_specs(), PATIENCE)
        except Exception as error:  # noqa: BLE001 - local kernels work without it
            self.log.warning("the gateway's kernelspecs cannot be listed: %r", error)
        return self._offered or {}

    async def is_remote(self, name):
        """What neither has is the gateway's to refuse."""
        offered = self._offered if self._offered is not None else await self._ask()
        return name in offered or name not in self.local.find_kernel_specs()

    async def get_all_specs(self):
        offered, specs = await self._ask(), {}
        for name, found in (await asyncio.to_thread(self.local.get_all_specs)).items():
            if name not in offered:
                specs[name] = {**found, "spec": _marked(found["spec"])}
            elif name not in self._hidden:
                self._hidden.add(name)
                self.log.warning("the gateway's kernelspec %s hides this server's", name)
        # The gateway has set its own default; it may offer nothing.
        manager = getattr(self.parent, "kernel_manager", None)
        if manager and manager.default_kernel_name not in {**specs, **offered} and specs:
            manager.default_kernel_name = next(iter(specs))
        return {**specs, **offered}

    async def get_kernel_spec(self, kernel_name, **kwargs):
        if await self.is_remote(kernel_name):
            return await self.remote.get_kernel_spec(kernel_name, **kwargs)
        spec = self.local.get_kernel_spec(kernel_name)
        spec.display_name += SUFFIX
        return spec

    async def get_kernel_spec_resource(self, kernel_name, path):
        if await self.is_remote(kernel_name):
            return await self.remote.get_kernel_spec_resource(kernel_name, path)
        return None  # jupyter_server reads it from disk


def _marked(spec):
    return {**spec, "display_name": spec.get("display_name", "") + SUFFIX}


class MixedKernelManager(AsyncMappingKernelManager):
    """The manager of this server's kernels, which passes on what concerns the gateway's."""

    def __init__(self, **kwargs):
        self.specs = kwargs.pop("kernel_spec_manager")
        super().__init__(**kwargs, kernel_spec_manager=self.specs.local)
        self.remote = GatewayKernels(**kwargs, kernel_spec_manager=self.specs.remote)
        self.remote.observe(self._remote_activity, "last_kernel_activity")
        self._models = []  # of the gateway's kernels when it last answered

    def _remote_activity(self, change):
        self.last_kernel_activity = max(self.last_kernel_activity, change.new)

    def __contains__(self, kernel_id):
        return super().__contains__(kernel_id) or kernel_id in self.remote

    def list_kernel_ids(self):
        return super().list_kernel_ids() + self.remote.list_kernel_ids()

    def get_kernel(self, kernel_id):
        manager = self.remote if kernel_id in self.remote else super()
        return manager.get_kernel(kernel_id)

    async def start_kernel(self, *, kernel_id=None, path=None, **kwargs):
        name = kwargs.get("kernel_name") or self.default_kernel_name
        if kernel_id not in self.remote:
            name = await _known(name, self.specs, self.default_kernel_name, self.log)
        kwargs["kernel_name"] = name
        if kernel_id in self.remote or await self.specs.is_remote(name):
            return await self.remote.start_kernel(kernel_id=kernel_id, path=path, **kwargs)
        await asyncio.to_thread(self.specs.local.check, name)
        return await super().start_kernel(kernel_id=kernel_id, path=path, **kwargs)

    async def shutdown_kernel(self, kernel_id, now=False, restart=False):
        manager = self.remote if kernel_id in self.remote else super()
        return await manager.shutdown_kernel(kernel_id, now=now, restart=restart)

    async def restart_kernel(self, kernel_id, now=False):
        manager = self.remote if kernel_id in self.remote else super()
        return await manager.restart_kernel(kernel_id, now=now)

    async def interrupt_kernel(self, kernel_id):
        manager = self.remote if kernel_id in self.remote else super()
        return await ensure_async(manager.interrupt_kernel(kernel_id))

    def kernel_model(self, kernel_id):
        """Awaitable for the gateway's, as jupyter_server has it."""
        manager = self.remote if kernel_id in self.remote else super()
        return manager.kernel_model(kernel_id)

    def update_env(self, *, kernel_id, env):
        manager = self.remote if kernel_id in self.remote else super()
        return manager.update_env(kernel_id=kernel_id, env=env)

    def remove_kernel(self, kernel_id):
        manager = self.remote if kernel_id in self.remote else super()
        return manager.remove_kernel(kernel_id)

    async def list_kernels(self):
        self.remote.check_known()
        if len(self.remote):
            try:
                self._models = await asyncio.wait_for(self.remote.list_kernels(), PATIENCE)
            except Exception as error:  # noqa: BLE001 - local kernels work without it
                self.log.warning("the gateway's kernels cannot be listed: %r", error)
        known = [model for model in self._models if model["id"] in self.remote]
        return super().list_kernels() + known

    async def list_all(self):
        """The same with nothing from memory. Error: that of the gateway."""
        return super().list_kernels() + (await self.remote.list_kernels() if len(self.remote) else [])

    async def shutdown_all(self, now=False):
        await asyncio.gather(self.remote.shutdown_all(now=now), self._shutdown_local(now))

    async def _shutdown_local(self, now):
        for kernel_id in super().list_kernel_ids():
            await super().shutdown_kernel(kernel_id, now=now)


class MixedConnection(BaseKernelWebsocketConnection):
    """Makes the connection that goes with the kernel; it is never one itself."""

    def __new__(cls, **kwargs):
        remote = isinstance(kwargs["parent"], GatewayKernelManager)
        return (GatewayConnection if remote else ZMQChannelsWebsocketConnection)(**kwargs)

    @classmethod
    async def close_all(cls):
        await GatewayConnection.close_all()
        await ZMQChannelsWebsocketConnection.close_all()
