"""What performance claims rest on: measured in one run, held against a floor measured in the same run."""
