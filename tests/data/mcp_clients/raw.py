"""A client of MCP that waits to be killed: raw.py URL, or raw.py PROGRAM ARGUMENT..., whose host it starts.

A line of its input is an id and a tool to call. A line of its output is what came back, as JSON; the id alone when
the call is under way, `"end"` when the host is gone. The first one is the process of the host, or null.
"""

import http.client
import json
import subprocess
import sys
import threading
import urllib.request

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
lock = threading.Lock()
under_way = set()


def tell(it):
    with lock:
        print(json.dumps(it), flush=True)


def hear(message):
    """Tells an answer, and the first progress of a call."""
    token = message.get("params", {}).get("progressToken")
    if message.get("id"):
        tell(message)
    elif token and token not in under_way:
        under_way.add(token)
        tell(token)


def request(id, method, params):
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


class Http:
    host = None
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

    def __init__(self, url):
        self.url = url
        with self.post(request(0, "initialize", HELLO)) as reply:
            self.headers = {**self.headers, "Mcp-Session-Id": reply.headers["Mcp-Session-Id"]}

    def post(self, message):
        body = json.dumps(message).encode()
        return urllib.request.urlopen(urllib.request.Request(self.url, body, self.headers))

    def send(self, message):
        threading.Thread(target=self.answer, args=(message,), daemon=True).start()

    def answer(self, message):
        try:
            for line in self.post(message):
                line = line.decode().removeprefix("data:").strip()
                if line.startswith("{"):
                    hear(json.loads(line))
                    if json.loads(line).get("id") == message["id"]:
                        return
        except (OSError, http.client.HTTPException):
            pass
        tell("end")


class Stdio:
    def __init__(self, words):
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.host = self.process.pid
        threading.Thread(target=self.answers, daemon=True).start()
        self.send(request(0, "initialize", HELLO))

    def send(self, message):
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass

    def answers(self):
        for line in self.process.stdout:
            hear(json.loads(line))
        tell("end")


way = Http(sys.argv[1]) if sys.argv[1].startswith("http") else Stdio(sys.argv[1:])
tell(way.host)
for line in sys.stdin:
    id, tool = line.split()
    arguments = {"text": "x"} if tool.endswith("echo") else {"steps": 1000000}
    call = {"name": tool, "arguments": arguments, "_meta": {"progressToken": int(id)}}
    way.send(request(int(id), "tools/call", call))
