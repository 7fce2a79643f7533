// Drives a server with the official TypeScript SDKs: node client.mjs SDK WHERE STEPS.
// WHERE is a URL, with the token in HEADGATE_TOKEN, or a program to start, as a JSON object {command, args, env}.
// SDK is v1 (2025-11-25), v2-legacy or v2-modern (2026-07-28); STEPS is a JSON list of {method, params, answer}, answer being what a person says when the server asks.
// Takes the steps one after the other and prints, as one line of JSON, what came back of each and which messages of the server came in between.
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from "@modelcontextprotocol/client";
import { StdioClientTransport as ProgramV2 } from "@modelcontextprotocol/client/stdio";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as ProgramV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

console.log = console.info = console.debug = console.error; // standard output is for the replies alone

const [sdk, where, steps] = process.argv.slice(2);
const info = { name: `typescript-${sdk}`, version: "1" };
const capabilities = { elicitation: {}, sampling: {}, roots: {} };
const headers = { requestInit: { headers: { Authorization: `Bearer ${process.env.HEADGATE_TOKEN}` } } };
const modes = { "v2-legacy": "legacy", "v2-modern": { pin: "2026-07-28" } };

const first = sdk === "v1";
const client = first ? new ClientV1(info, { capabilities }) : new ClientV2(info, { capabilities, versionNegotiation: { mode: modes[sdk] } });
const [Program, Transport] = first ? [ProgramV1, TransportV1] : [ProgramV2, TransportV2];
const transport = where.startsWith("{") ? new Program(JSON.parse(where)) : new Transport(new URL(where), headers);

let heard = [];
let answer;
const answers = [
  ["elicitation/create", ElicitRequestSchema, () => ({ action: "accept", content: answer })],
  ["sampling/createMessage", CreateMessageRequestSchema, () => ({ role: "assistant", model: "e2e", content: { type: "text", text: "Paris, says the model" } })],
  ["roots/list", ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///headgate", name: "work" }] })],
];
for (const [method, schema, respond] of answers) {
  client.setRequestHandler(first ? schema : method, async () => {
    heard.push(method);
    return respond();
  });
}

const onprogress = () => heard.push("notifications/progress");
const takes = {
  "tools/list": () => client.listTools(),
  "tools/call": (params) => (first ? client.callTool(params, undefined, { onprogress }) : client.callTool(params, { onprogress })),
  "prompts/list": () => client.listPrompts(),
  "prompts/get": (params) => client.getPrompt(params),
  "resources/list": () => client.listResources(),
  "resources/templates/list": () => client.listResourceTemplates(),
  "resources/read": (params) => client.readResource(params),
  "completion/complete": (params) => client.complete(params),
};

await client.connect(transport);
const replies = [];
for (const step of JSON.parse(steps)) {
  heard = [];
  answer = step.answer;
  const reply = {};
  try {
    reply.result = await takes[step.method](step.params);
  } catch (thrown) {
    if (typeof thrown.code !== "number") throw thrown; // not the server's answer
    reply.error = { code: thrown.code, message: thrown.message };
  }
  replies.push({ ...reply, heard });
}
await client.close();
process.stdout.write(JSON.stringify(replies) + "\n");
