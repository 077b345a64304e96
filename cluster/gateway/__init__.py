"""Floor 3: HTTP, for clients and for people who look after a node."""
