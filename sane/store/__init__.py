"""The append-only event log and the views that can be rebuilt from it."""
