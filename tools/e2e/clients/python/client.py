"""Drives Headgate with the official Python SDK: client.py MODE URL CALLS, the token in HEADGATE_TOKEN.

MODE is legacy (2025-11-25) or 2026-07-28; CALLS is a JSON list of {name, arguments}.
Lists the tools, makes the calls one after the other, and prints what came back as one line of JSON.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


async def main(mode: str, url: str, calls: str) -> None:
    headers = {"Authorization": "Bearer " + os.environ["HEADGATE_TOKEN"]}
    answers = []
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            listed = await client.list_tools()
            for call in json.loads(calls):
                try:
                    result = await client.call_tool(call["name"], call["arguments"])
                    answers.append({"result": result.model_dump(mode="json", by_alias=True)})
                except MCPError as thrown:
                    answers.append({"error": {"code": thrown.error.code, "message": thrown.error.message}})
    print(json.dumps({"tools": [each.name for each in listed.tools], "answers": answers}))


asyncio.run(main(*sys.argv[1:]))
