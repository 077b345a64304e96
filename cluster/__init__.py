"""A fault-tolerant cluster that compiles and runs untrusted Java."""

from cluster.version import __version__

__all__ = ["__version__"]
