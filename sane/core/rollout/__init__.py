"""In what order hosts change, and what came of each: the state of a deployment, its changes and its report."""
