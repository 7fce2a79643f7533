"""Drives a server with the official Python SDK before its version 2: client.py WHERE STEPS. Where, steps and output are those of ../python/client.py."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from pydantic import AnyUrl, FileUrl

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
    return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///headgate"), name="work")])


async def progressed(*_facts) -> None:
    heard.append("notifications/progress")


def reference(ref: dict) -> types.PromptReference | types.ResourceTemplateReference:
    kind = types.PromptReference if ref["type"] == "ref/prompt" else types.ResourceTemplateReference
    return kind.model_validate(ref)


async def take(session: ClientSession, method: str, params: dict):
    match method:
        case "tools/list":
            return await session.list_tools()
        case "tools/call":
            return await session.call_tool(params["name"], params.get("arguments"), progress_callback=progressed)
        case "prompts/list":
            return await session.list_prompts()
        case "prompts/get":
            return await session.get_prompt(params["name"], params.get("arguments"))
        case "resources/list":
            return await session.list_resources()
        case "resources/templates/list":
            return await session.list_resource_templates()
        case "resources/read":
            return await session.read_resource(AnyUrl(params["uri"]))
        case "completion/complete":
            return await session.complete(reference(params["ref"]), params["argument"])
    raise ValueError(f"no step {method}")


@asynccontextmanager
async def reached(where: str):
    if where.startswith("{"):
        async with stdio_client(StdioServerParameters.model_validate_json(where)) as streams:
            yield streams
        return
    headers = {"Authorization": "Bearer " + os.environ["HEADGATE_TOKEN"]}
    async with create_mcp_http_client(headers=headers) as http, streamable_http_client(where, http_client=http) as (read, write, _):
        yield read, write


async def main(where: str, steps: str) -> None:
    global step
    replies = []
    async with reached(where) as (read, write):
        async with ClientSession(read, write, elicitation_callback=elicited, sampling_callback=sampled, list_roots_callback=roots) as session:
            await session.initialize()
            for step in json.loads(steps):
                heard.clear()
                reply = {}
                try:
                    result = await take(session, step["method"], step.get("params") or {})
                    reply["result"] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
                except McpError as thrown:
                    reply["error"] = {"code": thrown.error.code, "message": thrown.error.message}
                replies.append(reply | {"heard": list(heard)})
    print(json.dumps(replies))


asyncio.run(main(*sys.argv[1:]))
