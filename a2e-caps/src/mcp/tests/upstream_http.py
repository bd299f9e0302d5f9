"""The server of `upstream.py` over HTTP: streamable on `/mcp`, the older way on `/sse`.

Prints its port. Its second argument names a file whose text must be the bearer token of each request.
"""

import json
import queue
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import upstream

TOKEN_FILE = (sys.argv[2:3] or [None])[0] or None
streams = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin_events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, data, name="message"):
        self.wfile.write(f"event: {name}\ndata: {data}\n\n".encode())
        self.wfile.flush()

    def is_refused(self):
        if TOKEN_FILE is None:
            return False
        token = open(TOKEN_FILE).read().strip()
        if self.headers.get("Authorization") == f"Bearer {token}":
            return False
        self.reply(401, WWW_Authenticate='Bearer resource_metadata="https://example.org/meta"')
        return True

    def do_GET(self):
        if self.is_refused():
            return
        if self.path != "/sse":
            return self.reply(405)
        session = str(len(streams))
        streams[session] = queue.Queue()
        self.begin_events()
        base = "http://127.0.0.1:1" if upstream.MODE == "foreign" else ""
        self.event(f"{base}/messages?session={session}", "endpoint")
        while True:
            try:
                self.event(json.dumps({"jsonrpc": "2.0", **streams[session].get()}))
            except OSError:
                return

    def do_DELETE(self):
        if upstream.MODE == "hang_stop":
            time.sleep(1000)
        self.reply(204)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.is_refused():
            return
        if self.path.startswith("/messages"):
            return self.older(message, streams[self.path.split("=")[1]])
        if self.path == "/elsewhere":
            return self.reply(307, Location="http://127.0.0.1:1/mcp")
        if "method" not in message or "id" not in message:
            return self.reply(202)
        if message["method"] == "tools/call":
            self.begin_events()
            upstream.stream.send = lambda it: self.event(json.dumps({"jsonrpc": "2.0", **it}))
            upstream.serve(message)
            return
        result = upstream.answer(message)
        kind = "error" if set(result) == {"code", "message"} else "result"
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], kind: result}).encode()
        session = {"Mcp_Session_Id": "s1"} if message["method"] == "initialize" else {}
        self.reply(200, body, Content_Type="application/json", **session)

    def older(self, message, out):
        self.reply(202)
        if "method" in message and "id" in message:
            upstream.stream.send = out.put
            upstream.serve(message)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
