"""How a command goes through a pane: what is typed, what comes back, and which prompt waits there."""
