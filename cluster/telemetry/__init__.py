"""Floor 3: logs, metrics, and what the service manager wants to hear."""
