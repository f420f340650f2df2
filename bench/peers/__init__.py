"""The same turn by the bare SDK, by us, and by four other libraries, each in its own way of doing it."""
