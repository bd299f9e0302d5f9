"""FastMCP with a tool of its own, or as a gateway: fast.py server|proxy PORT|stdio [PROGRAM ARGUMENT...]."""

import sys

from fastmcp import FastMCP
from fastmcp.server import create_proxy

role, port, *behind = sys.argv[1:]
if role == "server":
    server = FastMCP("bench")

    @server.tool
    def echo(text: str) -> str:
        """Gives its text back."""
        return text
else:
    server = create_proxy({"mcpServers": {"peer": {"command": behind[0], "args": behind[1:]}}})

if port == "stdio":
    server.run(show_banner=False)
else:
    how = {"host": "127.0.0.1", "port": int(port), "log_level": "warning"}
    server.run(transport="http", show_banner=False, **how)
