"""The terminal as a platform: one process, one person, one scope at a time."""
