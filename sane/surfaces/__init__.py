"""Where the outside world comes in: command line, progress, report, HTTP, MCP. Nothing below knows a surface."""
