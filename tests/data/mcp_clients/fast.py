"""FastMCP's client against a host: fast.py URL PROGRAM ARGUMENT..., over HTTP and stdio."""

import asyncio
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport


async def drive(transport):
    told = []

    async def progress(done, total, message):
        told.append(done)

    async with Client(transport, timeout=60) as client:
        tools = [tool.name for tool in await client.list_tools()]
        assert "test_simple_text" in tools, tools
        text = await client.call_tool("test_simple_text", {})
        assert "simple text" in text.content[0].text, text
        await client.call_tool("test_tool_with_progress", {}, progress_handler=progress)
        assert told == [0, 50, 100], told
        assert "test://static-text" in [str(it.uri) for it in await client.list_resources()]
        read = await client.read_resource("test://static-text")
        assert "static text resource" in read[0].text, read
        assert "test_simple_prompt" in [it.name for it in await client.list_prompts()]
        filled = await client.get_prompt("test_simple_prompt")
        assert "simple prompt" in filled.messages[0].content.text, filled
        print("ok", type(transport).__name__)


async def main():
    url, program, *arguments = sys.argv[1:]
    for transport in [url, StdioTransport(program, arguments)]:
        await asyncio.wait_for(drive(transport), 60)


asyncio.run(main())
