"""The hub's ports over NATS."""
