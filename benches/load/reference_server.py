"""The reference's own HTTP server with a tool of ours: python3 <this> CHECKOUT PORT.

Its application, sessions, executor and tool plugin as they are, its audit as by default (off). Of uvicorn, the flavour
that its Python has; access log and keep-alive are as for the other server on uvicorn.
"""

import logging
import sys

sys.path.insert(0, sys.argv[1])

import uvicorn
from a2e import A2EServer
from a2e.caps.tools import ToolPlugin, ToolResult
from a2e.schema import A2EHostConfig


class EchoPlugin(ToolPlugin):
    name = "echo"

    def _list_tools(self):
        return []

    def _execute_tool(self, tool_name, arguments):
        return ToolResult(success=True, tool_name=tool_name, data=arguments, duration_ms=0)


if __name__ == "__main__":
    plugin = {"name": "echo", "type": "tools", "cls": f"{__name__}.EchoPlugin"}
    address = {"base_url": f"http://127.0.0.1:{sys.argv[2]}"}
    config = A2EHostConfig(server={}, transport={"type": "http", "config": address}, plugins=[plugin])
    app = A2EServer(config, logging.getLogger("a2e")).start()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", backlog=4096,
                timeout_keep_alive=3600, access_log=False)
