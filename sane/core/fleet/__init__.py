"""Which hosts there are, and the sets of them that people write."""
