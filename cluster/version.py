"""The version of this software, and of the language that nodes speak to each other."""

__version__ = "0.1.0"

PROTOCOL_VERSION = 2
"""Carried by every datagram (N6) and by HELLO (W2); another version is refused."""
