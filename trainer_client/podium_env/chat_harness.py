"""Play a task of verifiers as a chat: ask the model, run the tools that it calls, ask again.

The harnesses of verifiers start a program for each attempt. This one is a loop in the process that
plays, which is enough for tasks whose tools are servers of their own, and it gives the model
nothing else to run. verifiers finds it by the id `podium-env`.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import verifiers.v1 as vf
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.harnesses.utils.mcp import call_mcp, connect_mcp

Wire = dict[str, Any]
CallTool = Callable[[str, Wire], Awaitable[Any]]


class ChatHarness(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc]  # verifiers is not there for mypy
    """A chat with the tools of the task."""

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_MCP = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: Any,
        trace: Any,
        runtime: Any,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: Any,
    ) -> Any:
        """Play until the model calls no tool, or the endpoint refuses another turn."""
        headers = {"Authorization": f"Bearer {secret}"}
        servers = {
            name: {"url": url, "timeout": self.config.tool_timeout}
            for name, url in mcp_urls.items()
        }
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(
                httpx.AsyncClient(headers=headers, timeout=None, trust_env=False)
            )
            tools, dispatch, connections = await connect_mcp({"mcpServers": servers}, stack)

            async def call_tool(name: str, arguments: Wire) -> Any:
                if name not in dispatch:
                    return f"error: unknown tool {name!r}"
                return await call_mcp(connections, dispatch, name, arguments)

            body: Wire = {"model": ctx.model, "messages": first_messages(self, data)}
            if tools:
                body["tools"] = tools
            while True:
                answer = await http.post(f"{endpoint}/chat/completions", json=body)
                if answer.status_code != httpx.codes.OK:
                    return vf.ProgramResult(exit_code=1, stdout="", stderr=answer.text)
                message = answer.json()["choices"][0]["message"]
                calls = message.get("tool_calls") or []
                if not calls:
                    return vf.ProgramResult(exit_code=0, stdout="", stderr="")
                results = [await run_call(call, call_tool) for call in calls]
                body["messages"] += [message, *results]


def first_messages(harness: ChatHarness, data: Any) -> list[Wire]:
    """Return the messages that an attempt begins with."""
    system, prompt = harness.resolve_prompt(data)
    first = [{"role": "system", "content": system}] if system else []
    if isinstance(prompt, str):
        return [*first, {"role": "user", "content": prompt}]
    return [*first, *(message_to_wire(message) for message in prompt or ())]


async def run_call(call: Wire, call_tool: CallTool) -> Wire:
    """Run a call of the model, and return its result as a message; arguments may be no JSON."""
    name = call["function"]["name"]
    try:
        arguments = json.loads(call["function"]["arguments"] or "{}")
    except ValueError as error:
        content: Any = f"error: the arguments are not JSON ({error})"
    else:
        if isinstance(arguments, dict):
            content = await call_tool(name, arguments)
        else:
            content = "error: the arguments are not an object"
    return {"role": "tool", "tool_call_id": call["id"], "name": name, "content": content}
