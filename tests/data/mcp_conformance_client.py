"""The client that the conformance suite of MCP asks for: a host with the suite's server, used by an agent.

The suite's address is the last argument; before it stand the program and its arguments. The agent lists the
tools, calls those that the scenario names, or each of them, and answers what it is asked.
"""

import json
import os
import subprocess
import sys
import tempfile

*PROGRAM, URL = sys.argv[1:]
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
VERSION = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "")
CONFIG = """
plugins:
  - {name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}
  - name: mcp
    type: mcp
    cls: a2e.caps.mcp.plugin.MCPPlugin
    metadata: {state_dir: "", start_wait: 4, servers: {up: {url: "%s", era: %s}}}
"""
SAMPLES = {"number": 3, "integer": 3, "string": "x", "boolean": True, "array": [], "object": {}}


class Agent:
    def __init__(self, program, config):
        command = [*program, "serve", "--stdio", "-c", config]
        self.host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.count = 0
        self.call("handshake/req", agent_id="suite", agent_caps=["tools", "mcp"])

    def send(self, kind, **body):
        self.count += 1
        line = {"type": kind, "id": f"q{self.count}", **body}
        self.host.stdin.write(json.dumps(line) + "\n")
        self.host.stdin.flush()
        return line["id"]

    def call(self, kind, **body):
        id = self.send(kind, **body)
        while True:
            line = json.loads(self.host.stdout.readline())
            if line["type"] == "mcp/elicit/req":
                fields = line["requested_schema"].get("properties", {}).items()
                content = {name: it["default"] for name, it in fields if "default" in it}
                self.send("mcp/elicit/resp", req_id=line["id"], action="accept", content=content)
            elif line.get("req_id") == id and not line["type"].endswith("/event"):
                return line

    def tool(self, name, arguments):
        # What is null is not given: the host takes no value for nothing.
        given = {key: value for key, value in arguments.items() if value is not None}
        return self.call("tool/call/req", tool_name=f"up__{name}", arguments=given, timeout=20)

    def end(self):
        self.host.stdin.close()
        self.host.wait(10)


with tempfile.TemporaryDirectory() as folder:
    era = "modern" if VERSION >= "2026-07-28" else "legacy"
    config = os.path.join(folder, "a2e.yaml")
    with open(config, "w") as file:
        file.write(CONFIG % (URL, era))
    agent = Agent(PROGRAM, config)
    tools = agent.call("tool/list/req")["tools"]
    ours = [tool for tool in tools if tool["name"].startswith("up__")]
    named = [(it["name"], it.get("arguments", {})) for it in CONTEXT.get("toolCalls", [])]
    for tool in [] if named else ours:
        fields = tool["input_schema"].get("properties", {}).items()
        arguments = {name: SAMPLES.get(it.get("type"), 3) for name, it in fields}
        if tool["name"] == "up__json_schema_echo":
            # What came of a schema on its way through the host.
            rich = [it for it in ours if it["name"] == "up__json_schema_2020_12_tool"]
            arguments = {"schema": rich[0]["input_schema"]}
        named.append((tool["name"].removeprefix("up__"), arguments))
    for name, arguments in named:
        print(json.dumps(agent.tool(name, arguments)))
    if not ours:
        print(json.dumps(agent.call("mcp/server/list/req")))
    agent.end()
