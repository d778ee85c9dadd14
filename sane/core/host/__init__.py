"""What a host runs and keeps for us, with nothing installed on it: shell text as data, and how its answers are read."""
