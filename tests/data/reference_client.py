"""The reference's own client, unchanged, against a host: all that it offers, over one transport.

    reference_client.py SDK FOLDER UPSTREAM http URL
    reference_client.py SDK FOLDER UPSTREAM subprocess PROGRAM ARGUMENT...

SDK is a checkout of github.com/a2eprotocol/python-sdk, FOLDER that of the host's configuration (see
reference_client.yaml), UPSTREAM a server of MCP. Prints what each check got as JSON, without what differs from run to
run, so that two transports can be compared. Where a class of the client is broken, the check says so and goes round
it, without a change to it.
"""

import asyncio
import json
import logging
import queue
import re
import sys
import threading
import traceback
from enum import Enum

SDK, FOLDER, UPSTREAM, TRANSPORT, *TARGET = sys.argv[1:]
sys.path.insert(0, SDK)

import requests  # noqa: E402
from pydantic import BaseModel  # noqa: E402

from a2e.caps.base.protocol import A2ECapability, A2EMessage  # noqa: E402
from a2e.caps.chains.client import ChainsAPI  # noqa: E402
from a2e.caps.chains.protocol import CHAIN_TYPE_MAP, ChainNode  # noqa: E402
from a2e.caps.env import protocol as env_wire  # noqa: E402
from a2e.caps.env.client import EnvAPI  # noqa: E402
from a2e.caps.learn import LEARN_TYPE_MAP, Experience, client as learn_client  # noqa: E402
from a2e.caps.mcp import protocol as mcp_wire  # noqa: E402
from a2e.caps.mcp.client import MCPAPI  # noqa: E402
from a2e.caps.memory.client import MemoryAPI, MemoryEntry  # noqa: E402
from a2e.caps.multi_agent.client import MultiAgentAPI  # noqa: E402
from a2e.caps.planning.client import PlanningAPI  # noqa: E402
from a2e.caps.proc.client import ProcsAPI  # noqa: E402
from a2e.caps.proc.protocol import MessageType as ProcType  # noqa: E402
from a2e.caps.skills.client import SkillAPI  # noqa: E402
from a2e.caps.subagents import protocol as upper_wire  # noqa: E402
from a2e.caps.subagents.client import SubagentClient  # noqa: E402
from a2e.caps.toolkits.client import ToolkitAPI  # noqa: E402
from a2e.caps.tools.client import ToolAPI, ToolCallRequest  # noqa: E402
from a2e.core.client import A2EClient  # noqa: E402
from a2e.core.transports import (  # noqa: E402
    HTTPTransportConfig, SubprocessTransport, TransportConfig, build_transport)

TOKEN = "of-the-reference-client-0123456789"
PATIENCE = 60
LOG = logging.getLogger("reference")
logging.basicConfig(stream=sys.stderr, level=logging.WARNING)

# What differs from run to run.
VARY = {"id", "ts", "created_at", "updated_at", "connected_at", "last_called", "last_ping_ms", "duration_ms", "pid",
        "avg_duration_ms", "p95_duration_ms", "uptime_seconds", "stderr"}
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|\b(?:sub_)?(?:[0-9a-f]{32}|[0-9a-f]{12}|[0-9a-f]{8})\b")


def plain(value):
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items() if key not in VARY}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return ID.sub("ID", value.replace(FOLDER, "FOLDER")) if isinstance(value, str) else value


def refusal(call, *arguments, **named):
    """What a call raises, which must be something."""
    try:
        got = call(*arguments, **named)
    except Exception as error:
        return [type(error).__name__, getattr(error, "code", ""), str(error)]
    raise AssertionError(f"not refused: {got}")


def transport():
    if TRANSPORT == "http":
        config = HTTPTransportConfig(base_url=TARGET[0])
        return build_transport(TransportConfig(type="http", config=config), LOG)
    return SubprocessTransport(command=TARGET, logger=LOG)


class Agent:
    """A client that is connected, and its interfaces."""

    def __init__(self, token=TOKEN, caps=tuple(it.value for it in A2ECapability)):
        self.transport = transport()
        self.client = A2EClient(self.transport, LOG, agent_id="reference", auth_token=token, agent_caps=list(caps))
        self.client.connect()
        self.reader = getattr(self.transport, "_reader", None)
        self.replies, self.told = {}, []
        self.upper, self.errors = queue.Queue(), queue.Queue()
        # Between the transport and the client, for replies that classes of the client cannot tell apart.
        self.transport.set_message_handler(self.hear)
        self.tools = ToolAPI(self.client)
        self.memory = MemoryAPI(self.client)
        self.procs = ProcsAPI(self.client)
        self.env = EnvAPI(self.client)
        # The module forgets to import it.
        learn_client.LEARN_TYPE_MAP = LEARN_TYPE_MAP
        self.learn = learn_client.LearnAPI(self.client)
        self.skills = SkillAPI(self.client)
        self.toolkits = ToolkitAPI(self.client)
        # It uses these two, which the client does not have, and registers no types.
        self.client._rpc, self.client._chain_events = self.client.rpc, {}
        self.client.update_msg_types(CHAIN_TYPE_MAP)
        self.chains = ChainsAPI(self.client)
        self.agents = MultiAgentAPI(self.client)
        self.subagents = SubagentClient(self)
        self.planning = PlanningAPI(self.client)
        self.mcp = MCPAPI(self.client)

    def hear(self, line):
        message = json.loads(line)
        waiting = self.replies.get(message.get("req_id"))
        if message["type"] == "SUBAGENT_EVENT":
            self.told.append(upper_wire.SubagentEvent.model_validate(message))
        elif message["type"] == "error" and not message["req_id"]:
            self.errors.put(message)
        elif message["type"].startswith("SUBAGENT_"):
            self.upper.put(message)
        elif waiting and not message["type"].endswith("/event"):
            waiting.put(message)
        else:
            self.client._on_message(line)

    def ask(self, request):
        """For replies whose class has no `req_id`: the client would wait for them in vain."""
        line = json.loads(self.client.encode(request))
        reply = self.replies[line["id"]] = queue.Queue()
        self.transport.send(json.dumps(line))
        return reply.get(timeout=PATIENCE)

    async def send(self, request):
        """What the client of subagents takes for a transport. Its messages have no id: replies come in order."""
        self.transport.send(request.model_dump_json())
        reply = self.upper.get(timeout=PATIENCE)
        return UPPER[reply["type"]].model_validate(reply)

    def on_push(self, kind, callback):
        """Under both texts: the client looks for a member of an enum by its Python name."""
        self.client.register_push_handler(str(kind), callback)
        self.client.register_push_handler(kind.value, callback)


UPPER = {it.model_fields["type"].default: it for it in upper_wire.BaseMessage.__subclasses__()}
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


@check
def handshake(agent):
    assert agent.client._session_id and agent.client.ping(PATIENCE) > 0
    return sorted((it.capability.value, it.metadata["name"]) for it in agent.client.capabilities())


@check
def other_handshakes(agent):
    asks_for_nothing = Agent(caps=())
    assert asks_for_nothing.client.capabilities() == []
    asks_for_nothing.client.disconnect()
    refused = refusal(Agent, token="wrong")
    assert refused == ["ConnectionError", "", "Handshake failed: auth_failed"], refused
    return refused


@check
def unknown_type(agent):
    refused = refusal(agent.client.rpc, A2EMessage(type="no/such/req"), timeout=PATIENCE)
    assert refused[:2] == ["A2EClientError", "unknown_type"], refused
    return refused


@check
def lists_of_tools(agent):
    def names(**named):
        return [it.name for it in agent.tools.list(**named)]

    assert "echo" in names() and "hidden" not in names() and names(query="echo") == ["echo"]
    return [agent.tools.list(), names(tags=["demo"]), names(query="hid", include_deferred=True), names(query="hid")]


@check
def calls_of_tools(agent):
    # A client over HTTP splits what it reads at each of these, unless they are escaped.
    odd = {"text": "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg \u00e4\U0001f600 \r\n\t", "none": None}
    large = {"text": "x" * 300_000}
    assert agent.tools.call("echo", odd).data == odd
    assert agent.tools.call("echo", large, streaming=False).data == large
    wrong = [("no_such", {}, 60), ("sleep", {"ms": "long"}, 60), ("fail", {"message": "as asked"}, 60),
             ("sleep", {"ms": 60_000}, 1)]
    refused = [refusal(agent.tools.call, name, given, timeout=limit) for name, given, limit in wrong]
    assert [it[1] for it in refused] == ["unknown_tool", "schema_violation", "tool_error", "timeout"], refused
    return [agent.tools.call("echo", odd), agent.tools.call("hidden", {}), agent.tools.call("sleep", {"ms": 1}),
            agent.tools.call("read_file", {"path": "a.txt"}), refused]


@check
def events_of_a_tool(agent):
    events, none = [], []
    result = agent.tools.call("stream", {"n": 200}, on_event=events.append)
    quiet = agent.tools.call("stream", {"n": 5}, on_event=none.append, streaming=False)
    assert [it.seq for it in events] == list(range(200)) and none == [], (len(events), none)
    return [events[0], events[-1], result, quiet]


@check
def calls_at_once(agent):
    results = {}

    def call(number):
        results[number] = agent.tools.call("echo" if number % 2 else "sleep", {"ms": number}).data

    threads = [threading.Thread(target=call, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: {"ms" if number % 2 else "slept_ms": number} for number in range(32)}, results
    return len(results)


@check
def memory(agent):
    memory = agent.memory
    begun = memory.init(namespace="notes", scope={"project": "a2e"}, metadata={"why": "test"})
    entries = [MemoryEntry(key={"n": 1}, content="blue whale", tier="semantic", tags=["sea", "large"]),
               {"key": {"n": 2}, "content": {"legs": 4}, "tier": "episodic", "tags": ["land"]},
               {"key": "no object", "content": 1, "tier": "working"}]
    stored = memory.store(entries)
    assert stored[0] == [{"n": 1}, {"n": 2}] and len(stored[1]) == 1, stored
    remembered = memory.remember({"n": 3}, [1, 2], tier="working", tags=["land"], ttl=3600, score=0.5)
    found = [memory.retrieve(keys=[{"n": 1}]), memory.retrieve(query="WHALE"), memory.retrieve(tags=["land"], limit=1),
             memory.retrieve(tier="working"), memory.retrieve(min_score=9), memory.retrieve()]
    assert [len(it) for it in found] == [1, 1, 1, 1, 0, 3], found
    assert memory.recall({"n": 2}) == {"legs": 4} and memory.recall({"n": 9}, default="none") == "none"
    forgotten = [memory.forget(tags=["land"]), memory.forget(keys=[{"n": 1}], tier="semantic"), memory.forget()]
    assert forgotten == [1, 1, 0], forgotten
    stranger = MemoryAPI(agent.client)
    stranger.memory_id = "none"
    return [begun, stored, remembered, found, forgotten, refusal(stranger.retrieve)]


@check
def processes(agent):
    pushes = queue.Queue()
    agent.on_push(ProcType.PROC_READ_EVENT, pushes.put)
    script = 'read line; echo "$GREETING $line"; pwd; exit 3'
    # It says nothing before it is written to: the client loses what comes while it takes the reply.
    spawned = agent.procs.spawn(["sh", "-c", script], cwd=f"{FOLDER}/files", env={"GREETING": "hello"},
                                timeout=PATIENCE, on_output=pushes.put)
    assert spawned.ok and spawned.pid > 0, spawned
    running = agent.procs.status(spawned.proc_id, PATIENCE)
    agent.procs.write(spawned.proc_id, "world\n")
    output = [pushes.get(timeout=PATIENCE) for _ in range(3)]
    said = [it.data.get("text", it.data.get("code")) for it in output]
    assert said == ["hello world\n", f"{FOLDER}/files\n", 3], output
    ended = agent.procs.status(spawned.proc_id, PATIENCE)
    sleeper = agent.procs.spawn(["sleep", "1000"], stdin_mode="null", timeout=PATIENCE)
    killed = [agent.procs.kill(sleeper.proc_id, timeout=PATIENCE), pushes.get(timeout=PATIENCE),
              agent.procs.status(sleeper.proc_id, PATIENCE), agent.procs.kill(sleeper.proc_id, signal="SIGKILL")]
    reader = agent.procs.spawn(["cat"], timeout=PATIENCE)
    agent.procs.write(reader.proc_id, "last", eof=True)
    read = [pushes.get(timeout=PATIENCE), pushes.get(timeout=PATIENCE)]
    refused = [agent.procs.spawn(["rm", "-rf", "/"]), agent.procs.spawn([]), agent.procs.kill("none"),
               agent.procs.status("none", PATIENCE), agent.procs.status("", PATIENCE)]
    assert [it.ok for it in refused[:3]] == [False] * 3, refused
    return [spawned, running, output, ended, sleeper, killed, read, refused]


@check
def environments(agent):
    env, pushes = agent.env, queue.Queue()
    env.on_push(pushes.put)
    agent.on_push(env_wire.MessageType.ENV_STATE_PUSH, env._on_push)
    begun = env.reset("counter_env", seed=7)
    episode = begun.obs.episode_id
    pushed = env.step(episode, {"type": "push"})
    push = pushes.get(timeout=PATIENCE)
    assert push.episode_id == episode and push.delta, push
    seen = env.observe(episode)
    steps = [env.step(episode, {"type": "inc"}) for _ in range(5)]
    assert steps[-1].obs.done and env.is_done(steps[-1].obs.done, steps[-1].obs.truncated), steps
    other = env.reset("gridworld", seed=1).obs.episode_id
    # The classes of these replies have no `req_id`.
    asked = [env_wire.EnvSpacesRequest(env_name="counter_env"),
             env_wire.EnvRenderRequest(episode_id=episode, mode="text"),
             env_wire.EnvPlanRequest(episode_id=other), env_wire.EnvExpListRequest(episode_id=episode, limit=2)]
    again = env.reset("counter_env", seed=7).obs.episode_id
    batch = env_wire.EnvBatchStepRequest(episode_ids=[again, again], actions=[{"type": "inc"}] * 2)
    answers = [agent.ask(it) for it in [*asked, batch]]
    assert not [it for it in answers if it["type"] == "error"], answers
    if "req_id" in env_wire.EnvCloseResponse.model_fields:
        closed = env.close(again).closed
    else:
        closed = agent.ask(env_wire.EnvCloseRequest(episode_id=again))["closed"]
    assert closed is True
    refused = [refusal(env.step, episode, {"type": "inc"}), refusal(env.observe, again), refusal(env.reset, "none")]
    return [begun, pushed, push, seen, steps, answers, refused]


@check
def learning(agent):
    learn = agent.learn
    rated = dict(prompt="2+2", response="5", model="m", version="sum")
    told = [learn.feedback("negative", score=-0.5, **rated), learn.reward("sum", 1.0, correlation_id="c"),
            learn.feedback("corrective", score=-1, correction="4", correction_span=(0, 1), source="env", **rated)]
    tuples = [{"state": {}, "action": {"component_name": "sum"}, "reward": 0.1, "step": step} for step in range(7)]
    stored = learn.experience([Experience(action={"component_name": "sum"}, reward=0.2, done=True), *tuples])
    assert stored == 8, stored
    planned = learn.refine(action="plan", component_name="sum")
    proposal = planned["proposals"][0]
    reviewed = learn.refine(action="review", proposal=proposal)
    applied = learn.refine(action="apply", proposal=proposal)
    assert applied["applied_edits"] > 0 and applied["rollback_available"], applied
    undone = [learn.refine(action="rollback", refinement_id=it) for it in (applied["refinement_id"], "none")]
    assert [it["rolled_back"] for it in undone] == [True, False], undone
    history = learn.refine(action="history")
    return [told, planned, reviewed, applied, undone, history, learn.adapt("sum"), learn.stats(), learn.stats("none")]


@check
def skills(agent):
    events = []
    found = agent.skills.discover()
    assert [it.name for it in found] == ["greet"], found
    called = agent.skills.call("greet", {"args": "Ada"}, on_event=events.append)
    assert called.success and "Ada" in json.dumps(called.data), called
    filtered = [agent.skills.discover(tags=["none"]), agent.skills.discover(categories=["manners"])]
    return [found, filtered, called, events, refusal(agent.skills.call, "none", {})]


@check
def toolkits(agent):
    kits = agent.toolkits
    before = kits.list()
    kit = kits.configure("filesystem", {"root": "files"})
    assert kit.configured and kits.ensure("filesystem").configured and kits.get("none") is None
    read = agent.tools.call("filesystem__read_file", {"path": "a.txt"})
    assert read.data["content"] == "hello\n", read
    refused = [refusal(kits.configure, "none", {}), refusal(kits.configure, "filesystem", {"root": "/"})]
    return [before, kit, kits.list(filter_tags=["none"]), read, refused]


@check
def chains(agent):
    events = []
    echo = dict(kind="tool", name="echo")
    nodes = [ChainNode(node_id="a", **echo, input_map={"who": "$.who"}, next_node="b"),
             {"node_id": "b", "kind": "branch", "condition": "$.a.who == Ada", "true_node": "m", "false_node": "f"},
             {"node_id": "m", "kind": "map", "items_path": "$.items", "map_node": "e"}, {"node_id": "e", **echo},
             {"node_id": "f", "kind": "tool", "name": "fail"}]
    done = agent.chains.run(nodes, "a", {"who": "Ada", "items": [1, 2]}, on_event=events.append)
    failed = agent.chains.run(nodes, "a", {"who": "Bo"}, streaming=False)
    lost = agent.chains.run(nodes, "none")
    assert [it.success for it in (done, failed, lost)] == [True, False, False], (done, failed, lost)
    assert [it.seq for it in events] == list(range(len(events))), events
    # The items of a map are worked on side by side.
    told = sorted(f"{it.node_id} {it.data} {it.phase} {it.output}" for it in events)
    assert "e {'index': 1} done {'item': 2}" in told, told
    return [done, told, failed, lost]


@check
def agents(agent):
    spawned = agent.agents.spawn("helper", role="tester")
    given = agent.agents.delegate(spawned.subagent_id, "sum", "add 2 and 2", ["it is 4"])
    waited = agent.agents.await_(spawned.subagent_id, timeout=PATIENCE)
    assert waited.status == "COMPLETED" and waited.result, waited
    listed = agent.agents.list()
    ended = agent.agents.terminate(spawned.subagent_id)
    assert ended.success
    return [spawned, given, waited, listed, ended, refusal(agent.agents.await_, "none")]


@check
def subagents(agent):
    run = asyncio.run
    whole = run(agent.subagents.run(name="one", model="m", task_name="t", instruction="go"))
    assert isinstance(whole, upper_wire.SubagentAwaitResponse) and whole.status == "COMPLETED", whole
    second = run(agent.subagents.spawn(name="two", model="m", capabilities=["tools"]))
    ids = [whole.subagent_id, second.subagent_id]
    text = upper_wire.SubagentMessagePayload(type="note", content={"n": 1})
    message = upper_wire.SubagentMessageRequest(from_subagent_id=ids[0], to_subagent_id=ids[1], message=text)
    merge = upper_wire.SubagentMergeRequest(subagent_ids=ids[:1])
    answers = [run(agent.send(message)), run(agent.send(upper_wire.SubagentListRequest())), run(agent.send(merge))]
    told = [it for it in agent.told if it.subagent_id == ids[0]]
    assert told[-1].event == "completed", told
    return [whole, second, answers, told[-1]]


@check
def planning(agent):
    planning = agent.planning
    made = planning.plan_create("release", ["todo", "done"], "what is left")
    first = planning.task_add(made.plan_id, "write", "todo", assignee="Ada", metadata={"size": 2})
    second = planning.task_add(made.plan_id, "test", "todo", deps=[first.task_id])
    changed = [planning.task_update(made.plan_id, first.task_id, status="done"),
               planning.task_update(made.plan_id, second.task_id, assignee="Bo"),
               planning.task_update("none", "none", "done")]
    assert [it.success for it in changed] == [True, True, False], changed
    return [made, planning.plan_list(), first, second, changed, planning.task_list(made.plan_id),
            planning.task_list(made.plan_id, "done"), planning.plan_board(made.plan_id), planning.plan_board()]


@check
def servers_of_mcp(agent):
    heard, asked = queue.Queue(), queue.Queue()
    agent.client.update_msg_types({"mcp/server/push": mcp_wire.MCPServerPush})
    agent.on_push(mcp_wire.MessageType.MCP_SERVER_PUSH, heard.put)

    def answer(request):
        asked.put(request)
        about = dict(req_id=request.id, server_id=request.server_id, mcp_request_id=request.mcp_request_id)
        said = {"type": "text", "text": "hi"}
        agent.client._send(mcp_wire.MCPSamplingResponse(**about, content=said, model="m"))

    agent.on_push(mcp_wire.MessageType.MCP_SAMPLE_REQ, answer)

    def ask(kind, **fields):
        return agent.client.rpc(getattr(mcp_wire, f"MCP{kind}Request")(**fields), timeout=PATIENCE)

    assert agent.mcp.list_servers() == []
    config = {"server_id": "up", "name": "upstream", "cmd": ["python3", UPSTREAM, "well"]}
    # Both read fields that a server's description does not have, and raise after the host has answered.
    broken = [refusal(agent.mcp.register_server, "upstream", config), refusal(agent.mcp.list_servers)]
    assert [it[0] for it in broken] == ["AttributeError"] * 2, broken
    listed = ask("ServerList").servers
    assert [it["status"] for it in listed] == ["ready"], listed
    echoed = agent.tools.call("up__echo", {"text": "over MCP"})
    sampled = agent.tools.call("up__sample", {})
    assert echoed.data["text"] == "over MCP" and "hi" in sampled.data["text"], (echoed, sampled)
    got = [ask("ResourceList", server_id="up"), ask("ResourceRead", uri="note://one"),
           ask("ResourceRead", uri="note://none"), ask("ResourceSubscribe", uri="note://one"), ask("PromptList"),
           ask("PromptGet", name="greet", arguments={"whom": "Ada"}), ask("RootsList")]
    push = heard.get(timeout=PATIENCE)
    while push.method != "notifications/resources/updated":
        push = heard.get(timeout=PATIENCE)
    ended = [ask("ServerUnregister", server_id="up"), ask("ServerUnregister", server_id="up")]
    assert [it.ok for it in ended] == [True, False], ended
    return [broken, listed, echoed, sampled, asked.get_nowait(), got, push, ended]


@check
def what_is_too_long(agent):
    agent.client._send(ToolCallRequest(tool_name="echo", arguments={"text": "x" * 3_000_000}))
    error = agent.errors.get(timeout=PATIENCE)
    assert error["code"] == "line_too_long", error
    return [error, agent.tools.call("echo", {"still": "here"})]


@check
def way_that_breaks(agent):
    """A second stream takes the place of the client's, which then comes back. Pipes have no second one."""
    if TRANSPORT == "http":
        session = {"X-Session-Id": agent.transport.session_id}
        requests.get(f"{TARGET[0]}/stream", headers=session, stream=True, timeout=PATIENCE).close()
    return agent.tools.call("echo", {"still": "here"})


@check
def end(agent):
    """The host ends what it was asked to end: neither end of the client waits until it loses patience."""
    agent.client.disconnect()
    if TRANSPORT == "http":
        assert not agent.reader.is_alive(), "the stream did not end"
    else:
        assert agent.transport._proc.returncode == 0, agent.transport._proc.returncode
    refused = refusal(agent.client.ping)
    assert refused[0] == "RuntimeError", refused
    return refused


def main():
    results, failed = {}, []
    agent = Agent()
    for function in CHECKS:
        try:
            results[function.__name__] = plain(function(agent))
        except Exception:
            failed.append(function.__name__)
            traceback.print_exc()
    print(json.dumps(results))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


main()
