"""Floor 1: bytes to messages and back. Pure: no socket, no clock, no Twisted."""
