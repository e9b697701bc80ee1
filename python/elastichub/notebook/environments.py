"""The Python environments that a user has made in the home, as kernels.

What venv, uv, virtualenv, conda and mamba make is a directory with bin/python. Each is offered as a
kernel of this server, and as one of every kernelspec of the gateway that is open to them: there it is
a Pod of that kernelspec, with the home in it, whose Python is the environment's. The gateway checks
again what is asked for here.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from tornado import web

MARK = ".env."  # in the name of a kernel at the gateway, after its kernelspec's
LOCAL = "env."  # begins that of a kernel of this server
VARIABLE = "KERNEL_OWN_ENVIRONMENT"  # tells the gateway which one
MOST = 64  # environments that are offered
MOST_ENTRIES = 500  # of a directory that are looked at
FRESH = 2.0  # seconds that a list is good for

# Where people have them, below the home; what is found first gives the name. "." is last, since
# ~/envs may have a link to what is deep in a project.
PLACES = (
    "envs",
    ".venvs",
    "venvs",
    ".virtualenvs",
    "micromamba/envs",
    ".local/share/mamba/envs",
    "miniforge3/envs",
    "mambaforge/envs",
    "miniconda3/envs",
    "anaconda3/envs",
    ".conda/envs",
    ".local/share/virtualenvs",
    ".cache/pypoetry/virtualenvs",
    ".",
)
IN_PROJECTS = (".venv", "venv", ".env", "env")  # of which the project's name is the better one


@dataclass(frozen=True)
class Environment:
    """One of them: its directory, and the same from the home."""

    path: Path
    relative: str

    @cached_property
    def slug(self):
        """The part of a kernel's name that is its own, and stays so."""
        parts = self.relative.split("/")
        text = re.sub(r"[^A-Za-z0-9._-]", "-", ".".join(parts))
        if all(re.fullmatch(r"\.?[A-Za-z0-9_-]+", part) for part in parts):
            return text
        return f"{text}-{hashlib.sha256(self.relative.encode()).hexdigest()[:8]}"

    @cached_property
    def label(self):
        """What its user calls it."""
        return self.relative if self.path.name in IN_PROJECTS else self.path.name

    @property
    def resources(self):
        """Where its ipykernel has put logos, if it has."""
        return str(self.path / "share" / "jupyter" / "kernels" / "python3")

    @cached_property
    def is_conda(self):
        return (self.path / "conda-meta").is_dir()

    @cached_property
    def lacks_ipykernel(self):
        """Whether it certainly has none; one that sees other packages may have it from there."""
        if re.search(r"(?mi)^include-system-site-packages\s*=\s*true", _read(self.path / "pyvenv.cfg")):
            return False
        libraries = list(self.path.glob("lib/python*/site-packages"))
        return bool(libraries) and not any(any(found.glob("*ipykernel*")) for found in libraries)

    @cached_property
    def fault(self):
        """What keeps it from being any kernel, in a sentence that says what to do; or ""."""
        if self.lacks_ipykernel:
            return (
                f"The environment ~/{self.relative} has no ipykernel, without which it is no kernel. "
                f"Install it in a terminal: uv pip install --python {self._quoted} ipykernel"
            )
        return ""

    @cached_property
    def local_fault(self):
        """The same for a kernel of this server."""
        python = self.path / "bin" / "python"
        if not python.exists():
            end = os.path.realpath(python)
            return (
                f"The environment ~/{self.relative} was made with a Python at {end}, which this server does not "
                f"have. Make it anew with one that is in the home, too: uv venv --clear --managed-python "
                f"{self._quoted} && uv pip install --python {self._quoted} ipykernel"
            )
        return self.fault

    @property
    def _quoted(self):
        if re.fullmatch(r"[A-Za-z0-9/._-]+", self.relative):
            return f"~/{self.relative}"
        return "~/'" + self.relative.replace("'", "'\\''") + "'"

    def variables(self, environ=os.environ):
        """As after its activation: what a cell starts, such as pip, is its own."""
        search = os.pathsep.join(filter(None, [str(self.path / "bin"), environ.get("PATH")]))
        if self.is_conda:
            return {"PATH": search, "CONDA_PREFIX": str(self.path), "CONDA_DEFAULT_ENV": self.path.name}
        return {"PATH": search, "VIRTUAL_ENV": str(self.path)}


class Environments:
    """Those of a home, as it is now."""

    def __init__(self, home=None, environ=os.environ):
        self.home = Path(home or os.path.expanduser("~"))
        self._environ = environ
        self._found: dict[str, Environment] = {}
        self._looked = -FRESH

    def all(self):
        """By slug. It reads the home, a few hundred names at most of each directory."""
        if time.monotonic() - self._looked >= FRESH:
            self._found = self._look()
            self._looked = time.monotonic()
        return self._found

    def _look(self):
        found: dict[str, Environment] = {}
        seen = set()
        for path in self._candidates():
            if len(found) == MOST:
                break
            if not _is_environment(path):
                continue
            end = os.path.realpath(path)
            try:
                relative = path.relative_to(self.home).as_posix()
            except ValueError:
                continue  # nothing else is in a kernel's Pod
            if end not in seen and relative != ".":
                seen.add(end)
                one = Environment(path, relative)
                found.setdefault(one.slug, one)
        return found

    def _candidates(self):
        places = [self.home / place for place in PLACES]
        for name in ("CONDA_ENVS_PATH", "CONDA_ENVS_DIRS"):
            listed = self._environ.get(name, "").split(os.pathsep)
            places[:0] = [Path(os.path.normpath(place)) for place in listed if os.path.isabs(place)]
        if os.path.isabs(root := self._environ.get("MAMBA_ROOT_PREFIX", "")):
            places.insert(0, Path(os.path.normpath(root)) / "envs")
        for place in places:
            for entry in _entries(place):
                yield entry
                if place == self.home:
                    yield from (entry / name for name in IN_PROJECTS)
        for line in _read(self.home / ".conda" / "environments.txt").splitlines()[:MOST_ENTRIES]:
            if os.path.isabs(line.strip()):
                yield Path(os.path.normpath(line.strip()))

    def of_kernel(self, name):
        """(kernelspec of the gateway, environment) that a kernel's name means; None: it means none.
        Error: HTTPError if the environment is not there, or is no kernel."""
        if name.startswith(LOCAL):
            raise web.HTTPError(404, f"There is no environment in your home for the kernel {name}.")
        kernel, mark, slug = name.partition(MARK)
        if not mark:
            return None
        one = self.all().get(slug)
        if one is None:
            raise web.HTTPError(
                404, f"The environment of the kernel {name} is not in your home: choose another kernel."
            )
        if one.fault:
            raise web.HTTPError(400, one.fault)
        return kernel, one

    def name_kernel(self, model):
        """Gives the gateway's model of a kernel the name under which this server offers it."""
        directory = (model or {}).get("environment", "")
        if directory.startswith(f"{self.home}/"):
            path = Path(directory)
            own = MARK + Environment(path, path.relative_to(self.home).as_posix()).slug
            if not model["name"].endswith(own):
                model["name"] += own

    def at_gateway(self, offered, tell_faults):
        """Kernelspecs for the environments, from those that the gateway offers. One without ipykernel
        is there to be found, once, if nobody else tells of it."""
        specs = {}
        for one in self.all().values():
            for kernel, model in offered.items():
                below = _about(model).get("environmentsBelow")
                if not below or not str(one.path).startswith(below.rstrip("/") + "/"):
                    continue
                if not one.fault:
                    specs[kernel + MARK + one.slug] = self.spec(kernel, model, one)
                elif tell_faults:
                    specs[kernel + MARK + one.slug] = self.spec(kernel, model, one)
                    break
        return specs

    @staticmethod
    def spec(kernel, model, one):
        """The kernelspec of an environment in the Pods of another kernelspec."""
        spec = model["spec"]
        needs = " needs ipykernel" if one.fault else ""
        ours = {**_about(model), "environment": one.relative}
        return {
            **model,
            "name": kernel + MARK + one.slug,
            "spec": {
                **spec,
                "display_name": f"{one.label}{needs} · {spec.get('display_name', kernel)}",
                "metadata": {**spec.get("metadata", {}), "elastichub": ours},
            },
        }


class LocalKernelSpecs(KernelSpecManager):
    """The kernelspecs of this server, and its user's environments."""

    def __init__(self, environments, **kwargs):
        self._environments = environments
        super().__init__(**kwargs)

    def find_kernel_specs(self):
        own = {LOCAL + slug: one.resources for slug, one in self._environments.all().items()}
        return {**super().find_kernel_specs(), **own}

    def get_kernel_spec(self, kernel_name):
        one = self._environments.all().get(kernel_name.removeprefix(LOCAL))
        if not kernel_name.startswith(LOCAL) or one is None:
            return super().get_kernel_spec(kernel_name)
        needs = " needs ipykernel" if one.fault else " is broken" if one.local_fault else ""
        return KernelSpec(
            argv=[str(one.path / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            env={name: value.replace("$", "$$") for name, value in one.variables().items()},
            resource_dir=one.resources,
            display_name=one.label + needs,
            language="python",
            interrupt_mode="message",
            metadata={"debugger": True, "elastichub": {"environment": one.relative}},
        )

    def check(self, kernel_name):
        """Error: HTTPError if that is the kernel of an environment which cannot run here."""
        one = self._environments.all().get(kernel_name.removeprefix(LOCAL))
        if kernel_name.startswith(LOCAL) and one is not None and one.local_fault:
            raise web.HTTPError(400, one.local_fault)


def is_own(name):
    """Whether a kernel of that name is in an environment of a user's own."""
    return name.startswith(LOCAL) or MARK in name


def _about(model):
    return model["spec"].get("metadata", {}).get("elastichub") or {}


def _entries(place):
    try:
        with os.scandir(place) as listed:
            names = [entry.name for entry, _ in zip(listed, range(MOST_ENTRIES), strict=False)]
    except OSError:
        return []
    return [place / name for name in sorted(names)]


def _is_environment(path):
    try:
        marked = (path / "pyvenv.cfg").is_file() or (path / "conda-meta").is_dir()
        return marked and os.path.lexists(path / "bin" / "python")
    except OSError:
        return False


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
