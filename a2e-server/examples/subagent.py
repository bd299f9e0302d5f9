"""A subagent: a client of the host that started it, over its standard streams.

    - name: agents
      type: multi_agent
      cls: a2e.caps.subagents.plugin.SubagentPlugin
      metadata: {command: [python3, a2e-server/examples/subagent.py]}

It takes tasks one at a time. What a task says is a tool and its arguments, as JSON: a model would choose them.
"""

import itertools
import json
import sys

ids = itertools.count()
waiting = []  # lines that came while a reply was waited for


def send(message):
    print(json.dumps(message), flush=True)


def lines():
    while True:
        if waiting:
            yield waiting.pop(0)
            continue
        line = sys.stdin.readline()
        if not line:
            return
        yield json.loads(line)


def ask(kind, **fields):
    """Sends a request to the host and waits for its reply."""
    own = f"own{next(ids)}"
    send({"type": kind, "id": own, **fields})
    for line in iter(sys.stdin.readline, ""):
        message = json.loads(line)
        if message.get("req_id") == own and not message["type"].endswith("event"):
            return message
        waiting.append(message)
    raise SystemExit("the host is gone")


def work(task):
    wanted = json.loads(task["instruction"])
    reply = ask("tool/call/req", tool_name=wanted["tool"], arguments=wanted["arguments"])
    if reply["type"] == "error":
        raise RuntimeError(f"{reply['code']}: {reply['message']}")
    return {"data": reply["data"]["data"]}


for message in lines():
    if message["type"] != "SUBAGENT_DELEGATE_REQ":
        continue  # an event, such as a message of another subagent
    answer = {"type": "SUBAGENT_AWAIT_RESP", "req_id": message["id"], "subagent_id": message["subagent_id"]}
    try:
        send({**answer, "status": "COMPLETED", "result": work(message["task"])})
    except Exception as error:
        send({**answer, "status": "FAILED", "error": str(error)})
