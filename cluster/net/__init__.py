"""Floor 3: Twisted adapters between the node's core and sockets, disks and clocks."""
