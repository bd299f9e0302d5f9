"""An echo server on a checkout of the A2E Python SDK: python3 -c <this> CHECKOUT.

The SDK has no server transport for stdio that answers, and prints what it sends: so the transport is
here, and its prints go nowhere.
"""
import logging
import os
import sys
import threading

checkout = sys.argv[1]
sys.path.insert(0, checkout)
wire_in, wire_out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
sys.stdout = open(os.devnull, "w")
logging.disable(logging.CRITICAL)

from a2e.caps.tools.plugin import ToolPlugin
from a2e.core.server.executor import A2EServerRuntimeExecutor
from a2e.schema import A2EHostConfig


class EchoTool(ToolPlugin):
    name = "echo"

    def _list_tools(self):
        return []

    def _execute_tool(self, tool_name, arguments):
        return {"success": True, "tool_name": tool_name, "data": arguments, "duration_ms": 0}

    def caps_metadata(self):
        return {}

    def teardown(self):
        pass


class Stdio:
    def __init__(self):
        self.lock = threading.Lock()

    def set_message_handler(self, handler):
        self.handler = handler

    def start(self):
        pass

    def stop(self):
        pass

    def send(self, line):
        with self.lock:
            wire_out.write(line.encode() + b"\n")
            wire_out.flush()


plugin = {"name": "echo", "type": "tools", "cls": "echo_tool.EchoTool", "metadata": {"enabled": True}}
module = type(sys)("echo_tool")
module.EchoTool = EchoTool
sys.modules["echo_tool"] = module
config = A2EHostConfig(
    server={},
    transport={"type": "direct", "config": {}},
    audit={"enabled": True, "path": os.path.abspath("a2e-python.audit")},
    plugins=[plugin],
)
transport = Stdio()
executor = A2EServerRuntimeExecutor(config, transport, logging.getLogger("a2e"))
executor.start()
for line in wire_in:
    transport.handler(line.decode())
