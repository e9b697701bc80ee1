"""JupyterHub's side of elastichub."""

from .spawner import ElasticSpawner

__version__ = "0.1.0"

__all__ = ["ElasticSpawner"]
