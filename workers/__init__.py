"""Processes that serve capabilities and announce them by heartbeat."""
