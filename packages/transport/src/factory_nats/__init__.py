"""How it crosses: a NATS transport whose every method returns a result."""
