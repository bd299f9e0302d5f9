// The TypeScript SDK against real servers behind a host: gateway.mjs URL REPOSITORY.
import assert from "node:assert";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, repository] = process.argv.slice(2);
const client = new Client({ name: "sdk", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const { tools } = await client.listTools();
assert(tools.some((tool) => tool.name === "fetch__fetch"));
const calls = [
  ["everything__echo", { message: "hi" }, /Echo: hi/],
  ["files__list_directory", { path: repository }, /a\.txt/],
  ["memory__read_graph", {}, /entities/],
  ["time__get_current_time", { timezone: "Europe/Berlin" }, /Europe\/Berlin/],
  ["git__git_status", { repo_path: repository }, /a\.txt/],
];
for (let round = 0; round < 3; round += 1) {
  await Promise.all(
    calls.map(async ([name, args, expected]) => {
      const result = await client.callTool({ name, arguments: args });
      assert.match(JSON.stringify(result), expected);
    }),
  );
}
const { resources } = await client.listResources();
const read = await client.readResource({ uri: resources[0].uri });
assert(read.contents.length > 0);
await client.close();
