"""Run in a kernel as exec(open(path).read(), {"__file__": path}): makes the package beside
it known as _elastichub_keep, off any path on which the user's code looks for modules."""

import importlib.util
import os
import sys

NAME = "_elastichub_keep"

if NAME not in sys.modules:
    directory = os.path.dirname(os.path.abspath(__file__))
    spec = importlib.util.spec_from_file_location(
        NAME, os.path.join(directory, "__init__.py"), submodule_search_locations=[directory]
    )
    assert spec and spec.loader
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
