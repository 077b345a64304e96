"""What the cluster itself costs: no-op jobs through one leader, stand-ins instead of the Java side.

Everything else is what runs in earnest: sockets, TLS, records, logs.
"""

WINDOW = "JAVACLUSTER_CAPACITY_WINDOW"
"""Environment variable: how many jobs the stand-in gateway keeps under way."""
