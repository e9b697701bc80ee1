"""elastichub for JupyterHub (spawner) and for notebook servers (notebook); neither imports what
the other needs."""

__version__ = "0.2.0"

__all__ = ["ElasticSpawner"]


def __getattr__(name):
    if name == "ElasticSpawner":
        from .spawner import ElasticSpawner

        return ElasticSpawner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
