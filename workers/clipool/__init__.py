"""The worker that runs agent turns."""
