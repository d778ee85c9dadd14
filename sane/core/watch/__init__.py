"""From samples of health to episodes, and from an episode to a plan or a person."""
