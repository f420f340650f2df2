"""The worker that speaks and hears."""
