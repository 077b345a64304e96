"""Floor 3: programs become processes. No submitted byte runs outside the sandbox."""
