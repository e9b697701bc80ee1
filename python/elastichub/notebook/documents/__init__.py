"""The server keeps the document when no page does."""

from .keeper import DocumentKeeper

__all__ = ["DocumentKeeper"]
