"""How one host changes: the file that says it, its steps, conditions and templates."""
