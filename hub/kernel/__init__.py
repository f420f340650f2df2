"""The pure middle of the hub: fed events and told the time, it opens nothing and reads no clock."""
