"""Real servers behind one host, used at once: gateway.py PORT NODE_SCRIPT REPOSITORY PROGRAM ARGUMENT...

The official Python SDK over stdio, whose host listens at the port too; there the same SDK in the newest era, and the
TypeScript SDK as a process of its own.
"""

import asyncio
import sys

from mcp import Client, StdioServerParameters


def calls(url, repository):
    thought = {"thought": "t", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1}
    entity = {"name": "a", "entityType": "b", "observations": ["c"]}
    return [
        ("everything__echo", {"message": "hi"}, "Echo: hi"),
        ("files__list_directory", {"path": repository}, "a.txt"),
        ("memory__create_entities", {"entities": [entity]}, ""),
        ("thinking__sequentialthinking", thought, "thoughtHistoryLength"),
        ("time__get_current_time", {"timezone": "Europe/Berlin"}, "Europe/Berlin"),
        ("git__git_status", {"repo_path": repository}, "a.txt"),
        # Of the host itself: a page that needs no network.
        ("fetch__fetch", {"url": url.removesuffix("mcp") + "health"}, "Contents of http"),
    ]


async def drive(client, url, repository):
    """All calls, over and over, at once."""

    async def call(tool, arguments, expected):
        result = await client.call_tool(tool, arguments)
        assert not result.is_error and expected in str(result), (tool, result)

    for _ in range(3):
        await asyncio.gather(*(call(*it) for it in calls(url, repository)))
    image = await client.call_tool("everything__get-tiny-image", {})
    assert any(it.type == "image" for it in image.content), image
    refused = await client.call_tool("files__read_text_file", {"path": "/etc/passwd"})
    assert refused.is_error, refused
    resources = (await client.list_resources()).resources
    assert (await client.read_resource(resources[0].uri)).contents, resources
    prompts = [it.name for it in (await client.list_prompts()).prompts]
    assert "everything__simple-prompt" in prompts, prompts
    assert (await client.get_prompt("everything__simple-prompt")).messages


async def ready(client):
    """Waits until all servers have told what they have."""
    wanted = {name.split("__")[0] for name, *_ in calls("", "")}
    seen = set()
    while not wanted <= seen:
        await asyncio.sleep(0.2)
        seen = {tool.name.split("__")[0] for tool in (await client.list_tools()).tools}


async def main():
    port, script, repository, program, *arguments = sys.argv[1:]
    url = f"http://127.0.0.1:{port}/mcp"
    arguments += ["--listen", f"http://127.0.0.1:{port}"]
    server = StdioServerParameters(command=program, args=arguments)
    async with Client(server, mode="legacy") as over_stdio:
        await ready(over_stdio)
        node = await asyncio.create_subprocess_exec("node", script, url, repository)
        async with Client(url, mode="2026-07-28") as over_http, Client(url, mode="legacy") as in_session:
            clients = [over_stdio, over_http, in_session]
            await asyncio.gather(*(drive(it, url, repository) for it in clients))
        assert await node.wait() == 0, "the TypeScript SDK"
    print("ok, all at once")


asyncio.run(asyncio.wait_for(main(), 300))
