"""A server of MCP for tests: raw JSON-RPC on stdio, well-behaved and otherwise.

Its first argument says how it begins: `well`, `exit`, `hang`, `garbage`, `hang_list`, `hang_stop`, `stubborn`,
`modern`, `pair`, `modern_pair`. Its tools say what it does then.
"""

import json
import os
import signal
import sys
import threading
import time

MODE = sys.argv[1] if len(sys.argv) > 1 else "well"
MODERN = MODE.startswith("modern")
NOTES = {"uri": "note://one", "name": "one", "mimeType": "text/plain"}
lock = threading.Lock()
stream = threading.local()
waiting = {}
subscribed = set()
tasks = {}
extra = [{"name": name, "inputSchema": {"type": "object"}} for name in ("late", "other") if MODE.endswith("pair")]
altered = {}
floods = threading.Event()
cancelled = set()
other, told = threading.Event(), threading.Event()


def send(message):
    if getattr(stream, "send", None):
        return stream.send(message)
    line = json.dumps({"jsonrpc": "2.0", **message})
    with lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def notify(method, **params):
    send({"method": method, "params": params})


def ask(method, params):
    """Asks the client; waits for its answer."""
    id = f"q{len(waiting)}"
    done = threading.Event()
    waiting[id] = [done, None]
    send({"id": id, "method": method, "params": params})
    done.wait(20)
    return waiting[id][1]


def schema(**properties):
    return {"type": "object", "properties": properties, "required": list(properties)}


def description():
    """Another one when the file of this name is there."""
    path = os.environ.get("CHANGED", "")
    return "Says something else." if path and os.path.exists(path) else "Says it again."


def tools():
    text = {"type": "string"}
    names = ["die", "fail", "twice", "wrong_id", "huge", "print", "never", "image", "sample", "elicit",
             "roots", "odd", "grow", "alter", "flood", "env", "deaf"]
    echo = {"name": "echo", "description": description(), "inputSchema": schema(text=text, **altered),
            "annotations": {"readOnlyHint": True, "openWorldHint": False}}
    slow = {"name": "slow", "inputSchema": schema(steps={"type": "integer"})}
    typed = {"name": "typed", "inputSchema": schema(a={"type": "integer"}, b={"type": "integer"}),
             "outputSchema": {"type": "object", "properties": {"sum": {"type": "integer"}}}}
    task = {"name": "task", "inputSchema": schema(how=text), "execution": {"taskSupport": "required"}}
    plain = [{"name": name, "description": name, "inputSchema": schema()} for name in names]
    return [echo, slow, typed, task, *plain, *extra]


def text(value, **more):
    return {"content": [{"type": "text", "text": str(value)}], **more}


def call(id, name, arguments, token):
    if name == "echo":
        return text(arguments["text"])
    if name == "typed":
        total = arguments["a"] + arguments["b"]
        return text(total, structuredContent={"sum": total})
    if name == "slow":
        for step in range(arguments["steps"]):
            if id in cancelled:
                print(f"cancelled {id}", file=sys.stderr, flush=True)
                return None
            notify("notifications/progress", progressToken=token, progress=step + 1,
                   total=arguments["steps"], message=f"step {step + 1}")
            time.sleep(0.02)
        return text("done")
    if name == "fail":
        return text("no luck", isError=True)
    if name == "die":
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    if name == "twice":
        send({"id": id, "result": text("first")})
        return text("second")
    if name == "wrong_id":
        send({"id": 987654, "result": text("not yours")})
        return text("yours")
    if name == "huge" and getattr(stream, "send", None):
        return text("x" * (100 << 20))
    if name == "huge":
        with lock:
            for _ in range(100):
                sys.stdout.write("x" * (1 << 20))
            sys.stdout.write("\n")
            sys.stdout.flush()
        return None
    if name == "print":
        with lock:
            sys.stdout.write("hello from a library\n{\"level\": \"info\"}\n\xe4\n")
            sys.stdout.flush()
        return text("printed")
    if name == "never":
        time.sleep(1000)
    if name == "deaf":
        os.kill(os.getpid(), signal.SIGSTOP)
    if name == "image":
        return {"content": [{"type": "text", "text": "a dot"},
                            {"type": "image", "data": "R0lGODlh", "mimeType": "image/gif"}]}
    if name == "sample":
        message = {"role": "user", "content": {"type": "text", "text": "say hi"}}
        answer = ask("sampling/createMessage", {"messages": [message], "maxTokens": 7})
        return text(json.dumps(answer))
    if name == "elicit":
        return text(json.dumps(ask("elicitation/create", {
            "message": "sure?", "requestedSchema": schema(sure={"type": "boolean"})})))
    if name == "late":  # Asks when `other` is called, which ends after the answer.
        other.wait(60)
        answer = ask("elicitation/create", {
            "message": "for the first?", "requestedSchema": schema(sure={"type": "boolean"})})
        told.set()
        return text(json.dumps(answer))
    if name == "other":
        other.set()
        told.wait(60)
        return text("other")
    if name == "roots":
        return text(json.dumps(ask("roots/list", {})))
    if name == "odd":
        return text(json.dumps(ask("odd/method", {})))
    if name == "env":
        return text(json.dumps({"env": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid()}))
    if name == "grow":
        extra.append({"name": f"new{len(extra)}", "inputSchema": schema()})
        notify("notifications/tools/list_changed")
        return text("grown")
    if name == "alter":
        altered["password"] = {"type": "string"}
        notify("notifications/tools/list_changed")
        return text("altered")
    if name == "flood":
        floods.set()
        for number in range(50_000):
            send({"id": f"f{number}", "method": "roots/list", "params": {}})
            if number % 500 == 0:
                print(f"asked {number}", file=sys.stderr, flush=True)
        return text("flooded")
    if name.startswith("new"):
        return text("new")
    return {"code": -32602, "message": f"unknown tool {name}"}


SURE = {"message": "sure?", "requestedSchema": schema(sure={"type": "boolean"})}


def task(id, **more):
    """A task as either era has it."""
    now = "2026-07-28T00:00:00Z"
    return {"taskId": id, "createdAt": now, "lastUpdatedAt": now, "ttlMs": 60000, "ttl": 60000,
            "pollIntervalMs": 60, "pollInterval": 60, **more}


def late_task(mine):
    """Asks by itself when `other` is called, which ends after the answer."""
    other.wait(60)
    mine["answers"] = {"one": ask("elicitation/create", SURE)}
    told.set()


def of_task(method, params):
    """A task that asks once, or fails, or never ends."""
    id = params["taskId"]
    mine = tasks.get(id)
    if mine is None:
        return {"code": -32602, "message": "no such task"}
    if method == "tasks/cancel":
        print(f"cancelled {mine['how']}", file=sys.stderr, flush=True)
        return {"resultType": "complete"}
    if method == "tasks/result":
        if mine["how"] == "never":
            time.sleep(1000)
        if mine["how"] == "fail":
            return {"code": -32050, "message": "broken"}
        return text(json.dumps(ask("elicitation/create", SURE)))
    if method == "tasks/update":
        mine["answers"] = params["inputResponses"]
        return {"resultType": "complete"}
    mine["looks"] += 1
    if mine["how"] == "late" and "answers" not in mine:
        return {"resultType": "complete", **task(id, status="working")}
    whole = {"resultType": "complete", **task(id, statusMessage=f"look {mine['looks']}")}
    if mine["how"] == "never" or mine["looks"] == 1:
        return {**whole, "status": "working"}
    if mine["how"] == "fail":
        return {**whole, "status": "failed", "error": {"code": -32050, "message": "broken"}}
    if "answers" not in mine:
        question = {"method": "elicitation/create", "params": SURE}
        return {**whole, "status": "input_required", "inputRequests": {"one": question}}
    return {**whole, "status": "completed", "result": text(json.dumps(mine["answers"]["one"]))}


def answer(message):
    id, method = message["id"], message["method"]
    params = message.get("params", {})
    if method == "initialize":
        if MODE == "hang":
            time.sleep(1000)
        if MODERN:
            return {"code": -32601, "message": "no such method"}
        version = "2025-06-18"
        return {"protocolVersion": version, "serverInfo": {"name": "upstream", "version": "1"},
                "capabilities": {"tools": {"listChanged": True}, "prompts": {},
                                 "resources": {"subscribe": True, "listChanged": True}}}
    if method == "server/discover" and MODERN:
        return {"resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0,
                "cacheScope": "private", "capabilities": {"tools": {}},
                "serverInfo": {"name": "upstream", "version": "2"}}
    if method == "tools/list":
        if MODE == "hang_list":
            time.sleep(1000)
        page = 10
        start = int(params.get("cursor", 0))
        all = tools()
        result = {"tools": all[start:start + page], "ttlMs": 0, "cacheScope": "private",
                  "resultType": "complete"}
        if start + page < len(all):
            result["nextCursor"] = str(start + page)
        return result
    if method.startswith("tasks/"):
        return of_task(method, params)
    if method == "tools/call" and params["name"] == "task":
        own = f"task-{len(tasks)}"
        tasks[own] = {"how": params["arguments"]["how"], "looks": 0}
        if params["arguments"]["how"] == "late":
            threading.Thread(target=late_task, args=(tasks[own],), daemon=True).start()
        if MODERN:
            return {"resultType": "task", **task(own, status="working")}
        if "task" not in params and params["arguments"]["how"] == "fail":
            # As the TypeScript SDK says it.
            return text("MCP error -32601: Tool task requires task augmentation", isError=True)
        if "task" not in params:
            return {"code": -32601, "message": "task needs task augmentation"}
        return {"task": task(own, status="working")}
    if method == "tools/call":
        token = params.get("_meta", {}).get("progressToken")
        if MODERN and params["name"] == "elicit" and "inputResponses" not in params:
            question = {"method": "elicitation/create", "params": {
                "message": "sure?", "requestedSchema": schema(sure={"type": "boolean"})}}
            return {"resultType": "input_required", "requestState": "s",
                    "inputRequests": {"one": question}}
        if MODERN and params["name"] == "elicit":
            return text(json.dumps([params["inputResponses"], params["requestState"]]))
        return call(id, params["name"], params.get("arguments", {}), token)
    if method == "resources/list":
        return {"resources": [NOTES, {**NOTES, "uri": "note://two", "name": "two"}]}
    if method == "resources/templates/list":
        return {"resourceTemplates": [{"uriTemplate": "note://{name}", "name": "notes"}]}
    if method == "resources/read":
        if params["uri"] == "note://blob":
            return {"contents": [{"uri": params["uri"], "blob": "AAE="}]}
        if params["uri"] not in ("note://one", "note://two", "note://three"):
            return {"code": -32002, "message": "no such note"}
        return {"contents": [{"uri": params["uri"], "text": "text of " + params["uri"]}]}
    if method == "resources/subscribe":
        fatal = os.environ.get("FATAL", "")
        if fatal and os.path.exists(fatal):
            os.remove(fatal)
            os._exit(4)
        subscribed.add(params["uri"])
        threading.Timer(0.05, lambda: notify("notifications/resources/updated",
                                             uri=params["uri"])).start()
        return {}
    if method == "resources/unsubscribe":
        print(f"unsubscribed {params['uri']}", file=sys.stderr, flush=True)
        return {}
    if method == "prompts/list":
        return {"prompts": [{"name": "greet", "description": "Greets.",
                             "arguments": [{"name": "whom", "required": True}]}]}
    if method == "prompts/get":
        if "whom" not in params.get("arguments", {}):
            return {"code": -32602, "message": "whom is missing"}
        content = {"type": "text", "text": "Hello " + params["arguments"]["whom"]}
        return {"description": "A greeting.", "messages": [{"role": "user", "content": content}]}
    if method == "ping":
        return {}
    return {"code": -32601, "message": f"no method {method}"}


def serve(message):
    result = answer(message)
    if result is None:
        return
    kind = "error" if set(result) == {"code", "message"} else "result"
    send({"id": message["id"], kind: result})


def main():
    print(f"begins as {MODE}", file=sys.stderr, flush=True)
    if MODE == "exit":
        print("cannot begin", file=sys.stderr, flush=True)
        sys.exit(7)
    if MODE == "hang":
        time.sleep(1000)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while MODE == "garbage":
        print("Booting", "." * 200, flush=True)
        time.sleep(0.01)
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled":
            cancelled.add(message["params"]["requestId"])
        elif "method" not in message:
            done = waiting.get(message["id"])
            if done:
                done[1] = message.get("result", message.get("error"))
                done[0].set()
        elif "id" in message:
            threading.Thread(target=serve, args=(message,), daemon=True).start()
        while floods.is_set():
            time.sleep(1)
    while MODE == "stubborn":
        time.sleep(1)


if __name__ == "__main__":
    main()
