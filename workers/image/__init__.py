"""The worker that makes pictures."""
