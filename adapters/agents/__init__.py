"""The spoke by which agents and programs of others talk to ours, in the agent protocol of Synadia."""
