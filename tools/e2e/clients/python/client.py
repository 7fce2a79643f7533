"""Drives a server with the official Python SDK: client.py MODE WHERE STEPS.

WHERE is a URL, with the token in HEADGATE_TOKEN, or a program to start, as a JSON object {command, args, env}; MODE is legacy (2025-11-25) or 2026-07-28; STEPS is a JSON list of {method, params, answer}, answer being what a person says when the server asks.
Takes the steps one after the other and prints, as one line of JSON, what came back of each and which messages of the server came in between.
"""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

import httpx2
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.streamable_http import streamable_http_client

heard: list[str] = []
step: dict = {}


async def elicited(_context, _params) -> types.ElicitResult:
    heard.append("elicitation/create")
    return types.ElicitResult(action="accept", content=step["answer"])


async def sampled(_context, _params) -> types.CreateMessageResult:
    heard.append("sampling/createMessage")
    return types.CreateMessageResult(role="assistant", model="e2e", content=types.TextContent(type="text", text="Paris, says the model"))


async def roots(_context) -> types.ListRootsResult:
    heard.append("roots/list")
    return types.ListRootsResult(roots=[types.Root(uri="file:///headgate", name="work")])


async def progressed(*_facts) -> None:
    heard.append("notifications/progress")


def reference(ref: dict) -> types.PromptReference | types.ResourceTemplateReference:
    kind = types.PromptReference if ref["type"] == "ref/prompt" else types.ResourceTemplateReference
    return kind.model_validate(ref)


async def take(client: Client, method: str, params: dict):
    match method:
        case "tools/list":
            return await client.list_tools()
        case "tools/call":
            return await client.call_tool(params["name"], params.get("arguments"), progress_callback=progressed)
        case "prompts/list":
            return await client.list_prompts()
        case "prompts/get":
            return await client.get_prompt(params["name"], params.get("arguments"))
        case "resources/list":
            return await client.list_resources()
        case "resources/templates/list":
            return await client.list_resource_templates()
        case "resources/read":
            return await client.read_resource(params["uri"])
        case "completion/complete":
            return await client.complete(reference(params["ref"]), params["argument"])
    raise ValueError(f"no step {method}")


@asynccontextmanager
async def reached(where: str):
    if where.startswith("{"):
        yield StdioServerParameters.model_validate_json(where)
        return
    headers = {"Authorization": "Bearer " + os.environ["HEADGATE_TOKEN"]}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        yield streamable_http_client(where, http_client=http)


async def main(mode: str, where: str, steps: str) -> None:
    global step
    replies = []
    async with reached(where) as server, Client(
        server, mode=mode, elicitation_callback=elicited, sampling_callback=sampled, list_roots_callback=roots
    ) as client:
        for step in json.loads(steps):
            heard.clear()
            reply = {}
            try:
                result = await take(client, step["method"], step.get("params") or {})
                reply["result"] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
            except MCPError as thrown:
                reply["error"] = {"code": thrown.error.code, "message": thrown.error.message}
            replies.append(reply | {"heard": list(heard)})
    print(json.dumps(replies))


asyncio.run(main(*sys.argv[1:]))
