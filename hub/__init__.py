"""The one routing authority: who may speak, which agent answers, in what order."""
