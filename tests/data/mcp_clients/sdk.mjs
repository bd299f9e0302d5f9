// The TypeScript SDK against a host: sdk.mjs URL PROGRAM ARGUMENT..., over HTTP and stdio.
import assert from "node:assert";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [url, program, ...args] = process.argv.slice(2);
const ways = [
  new StreamableHTTPClientTransport(new URL(url)),
  new StdioClientTransport({ command: program, args, stderr: "ignore" }),
];
for (const transport of ways) {
  const client = new Client({ name: "sdk", version: "1" }, { capabilities: { elicitation: {} } });
  client.setRequestHandler(ElicitRequestSchema, async () => ({
    action: "accept",
    content: { name: "Ada" },
  }));
  await client.connect(transport);
  const { tools } = await client.listTools();
  assert(tools.some((tool) => tool.name === "test_simple_text"));
  const text = await client.callTool({ name: "test_simple_text", arguments: {} });
  assert.match(text.content[0].text, /simple text/);
  // The SDK checks what is structured against the schema of the tool.
  const echo = await client.callTool({ name: "memory_init", arguments: {} });
  assert(echo.structuredContent.memory_id);
  const told = [];
  await client.callTool({ name: "test_tool_with_progress", arguments: {} }, undefined, {
    onprogress: (it) => told.push(it.progress),
  });
  assert.deepEqual(told, [0, 50, 100]);
  const asked = await client.callTool({ name: "test_streaming_elicitation", arguments: {} });
  assert.match(asked.content[0].text, /Hello, Ada!/);
  const cut = new AbortController();
  setTimeout(() => cut.abort("enough"), 200);
  await assert.rejects(
    client.callTool({ name: "sleep", arguments: { ms: 60000 } }, undefined, { signal: cut.signal }),
  );
  const { resources } = await client.listResources();
  assert(resources.some((it) => it.uri === "test://static-text"));
  const read = await client.readResource({ uri: "test://static-text" });
  assert.match(read.contents[0].text, /static text resource/);
  const { prompts } = await client.listPrompts();
  assert(prompts.some((it) => it.name === "test_simple_prompt"));
  const filled = await client.getPrompt({
    name: "test_prompt_with_arguments",
    arguments: { arg1: "a", arg2: "b" },
  });
  assert.match(filled.messages[0].content.text, /arg1='a'/);
  await client.close();
  console.log("ok", transport.constructor.name);
}
