"""What performs decisions: the runner, the reconcile loop, the poller, the planner."""
