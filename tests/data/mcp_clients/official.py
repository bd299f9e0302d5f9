"""The official Python SDK against a host: official.py URL PROGRAM ARGUMENT..., over HTTP and stdio, in both eras."""

import asyncio
import sys

import mcp
from mcp import Client, StdioServerParameters
from mcp.types import ElicitResult


async def elicit(context, params):
    return ElicitResult(action="accept", content={"name": "Ada"})


async def drive(server, mode):
    told = []

    async def progress(done, total, message):
        told.append(done)

    async with Client(server, mode=mode, elicitation_callback=elicit) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert "test_simple_text" in tools and "memory_store" in tools, tools
        text = await client.call_tool("test_simple_text", {})
        assert "simple text" in text.content[0].text, text
        image = await client.call_tool("test_image_content", {})
        assert image.content[0].type == "image", image
        failed = await client.call_tool("test_error_handling", {})
        assert failed.is_error, failed
        await client.call_tool("test_tool_with_progress", {}, progress_callback=progress)
        assert told == [0, 50, 100], told
        asked = await client.call_tool("test_streaming_elicitation", {})
        assert "Hello, Ada!" in asked.content[0].text, asked
        try:
            await client.call_tool("sleep", {"ms": 60000}, read_timeout_seconds=0.3)
            raise AssertionError("a call that is given up does not answer")
        except mcp.MCPError:
            pass
        resources = [str(it.uri) for it in (await client.list_resources()).resources]
        assert "test://static-text" in resources, resources
        read = await client.read_resource("test://static-text")
        assert "static text resource" in read.contents[0].text, read
        prompts = [it.name for it in (await client.list_prompts()).prompts]
        assert "test_simple_prompt" in prompts, prompts
        filled = await client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        assert "arg1='a'" in filled.messages[0].content.text, filled
        print("ok", mode, type(server).__name__, client.protocol_version)


async def main():
    url, program, *arguments = sys.argv[1:]
    for mode in ["legacy", "2026-07-28"]:
        for server in [url, StdioServerParameters(command=program, args=arguments)]:
            await asyncio.wait_for(drive(server, mode), 60)


asyncio.run(main())
