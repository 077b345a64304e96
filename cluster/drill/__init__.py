"""The drill: a cluster of its own under load and faults, and an account of every request (docs/drills)."""
