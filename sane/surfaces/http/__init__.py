"""The HTTP service: answers of agents as streams, the event log, and its own state."""
