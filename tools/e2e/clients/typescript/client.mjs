// Drives Headgate with the official TypeScript SDKs: node client.mjs SDK URL CALLS, the token in HEADGATE_TOKEN.
// SDK is v1 (2025-11-25), v2-legacy or v2-modern (2026-07-28); CALLS is a JSON list of {name, arguments}.
// Lists the tools, makes the calls one after the other, and prints what came back as one line of JSON.
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [sdk, url, calls] = process.argv.slice(2);
const info = { name: `typescript-${sdk}`, version: "1" };
const options = { requestInit: { headers: { Authorization: `Bearer ${process.env.HEADGATE_TOKEN}` } } };
const modes = { "v2-legacy": "legacy", "v2-modern": { pin: "2026-07-28" } };

const client = sdk === "v1" ? new ClientV1(info) : new ClientV2(info, { versionNegotiation: { mode: modes[sdk] } });
const transport = sdk === "v1" ? new TransportV1(new URL(url), options) : new TransportV2(new URL(url), options);
await client.connect(transport);
const listed = await client.listTools();
const answers = [];
for (const call of JSON.parse(calls)) {
  try {
    answers.push({ result: await client.callTool(call) });
  } catch (thrown) {
    answers.push({ error: { code: thrown.code, message: thrown.message } });
  }
}
await client.close();
console.log(JSON.stringify({ tools: listed.tools.map((each) => each.name), answers }));
