"""The verb registry: one typed function becomes a command, an MCP tool, an HTTP route and a workflow step."""
