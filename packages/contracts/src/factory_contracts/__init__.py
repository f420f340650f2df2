"""What crosses a process: envelopes, records, render events and the subjects they travel on."""
