"""Floor 2: decisions. Pure: events in, effects out; time and chance are arguments (architecture A1)."""
