"""Verbs as tools of AI agents, over the Model Context Protocol."""
