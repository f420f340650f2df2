"""The spoke for Discord."""
