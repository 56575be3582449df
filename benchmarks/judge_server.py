"""A scripted judge that speaks the OpenAI chat-completions protocol, for benchmarks.

Turns one chat request into one ready-made verdict without parsing its JSON, so that a benchmark
measures whatever calls the judge and not the judge. Two prompt dialects are understood: Podium's
(`<trajectory-CODE id="K7QXM">` ... `</trajectory-CODE>`, answered with an object keyed by id) and
RULER's (`<trajectory id="1">` ... `</trajectory>`, answered with a list of scores). A score depends
on nothing but the length and the end of the trajectory's text: the same trajectory, the same score.

    python -m benchmarks.judge_server --port 0 --delay-s 1.0

prints `{"port": N}` once it listens on the loopback address. Routes: `POST /v1/chat/completions`,
`GET /v1/models`, `GET /stats`.

To add a dialect: make `OPENING_TAG` match its opening tag and `closing_tag` name the closing one,
then add its reply's text to `verdict`, chosen by whether the tag carries a code.
"""

import asyncio
import json
import re
import zlib
from dataclasses import dataclass
from typing import Annotated

import typer
import uvloop

from benchmarks.judges.http import JudgeProtocol, Routes, Stats

# The quotes of a tag inside a JSON string are escaped: id=\"K7QXM\".
OPENING_TAG = re.compile(rb'<trajectory(?:-([0-9A-Za-z]+))? id=\\"([0-9A-Za-z_-]+)\\"[^<>]*>')
TAG_START = b"<trajectory"
TAIL_BYTES = 200
SCORES = [b"%d.%02d" % divmod(hundredths, 100) for hundredths in range(101)]
EXPLANATION = b"Scripted: reaches the goal in part, with one detour and one claim it did not check."

COMPLETION = (
    b'{"id":"chatcmpl-%d","object":"chat.completion","created":1700000000,"model":"scripted",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"%b","refusal":null},'
    b'"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,'
    b'"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0}}}'
)
MODELS = (
    b'{"object":"list","data":[{"id":"scripted","object":"model","created":1700000000,'
    b'"owned_by":"podium","max_model_len":131072}]}'
)
NO_TRAJECTORY = (
    b'{"error":{"message":"the scripted judge found no complete <trajectory> tag in the prompt",'
    b'"type":"invalid_request_error","param":"messages","code":"no_trajectory"}}'
)


@dataclass(frozen=True, slots=True)
class Found:
    """A trajectory found in a prompt: the code of its tag (RULER has none), its id, its score."""

    code: bytes
    id: bytes
    score: bytes


def closing_tag(code: bytes) -> bytes:
    return b"</trajectory-%b>" % code if code else b"</trajectory>"


def find_trajectories(body: bytes, *, seed: int) -> list[Found]:
    """Find the tagged trajectories of a request in the order in which the judge is shown them.

    A tag that is never closed (an example in the instructions) and an id seen before (a corrective
    retry that repeats the prompt) are passed over.
    """
    found: dict[tuple[bytes, bytes], Found] = {}
    # bytes.find walks 95 kB an order of magnitude faster than a regular expression does.
    at = body.find(TAG_START)
    while at >= 0:
        tag = OPENING_TAG.match(body, at)
        end = -1
        if tag is not None:
            code, trajectory_id = tag[1] or b"", tag[2]
            end = body.find(closing_tag(code), tag.end())
            if end >= 0 and (code, trajectory_id) not in found:
                tail = body[max(tag.end(), end - TAIL_BYTES) : end]
                # The code is new in every call and must not move the score; the length tells apart
                # trajectories that end alike.
                tail = tail.replace(code, b"") if code else tail
                crc = zlib.crc32(tail, seed ^ (end - tag.end()))
                found[code, trajectory_id] = Found(code, trajectory_id, SCORES[crc % len(SCORES)])
        at = body.find(TAG_START, end if end >= 0 else at + len(TAG_START))
    return list(found.values())


def verdict(found: list[Found]) -> bytes:
    """Write the judge's reply, escaped for the inside of a JSON string."""
    if found[0].code:
        return b"{%b}" % b", ".join(
            b'\\"%b\\": {\\"explanation\\": \\"%b\\", \\"score\\": %b}'
            % (f.id, EXPLANATION, f.score)
            for f in found
        )
    return b'{\\"scores\\": [%b]}' % b", ".join(
        b'{\\"trajectory_id\\": \\"%b\\", \\"explanation\\": \\"%b\\", \\"score\\": %b}'
        % (f.id, EXPLANATION, f.score)
        for f in found
    )


def completion(body: bytes, *, seed: int, number: int) -> tuple[int, bytes]:
    """Answer one chat-completions request: the HTTP status and the JSON body.

    Tokens are estimated at four bytes each.
    """
    found = find_trajectories(body, seed=seed)
    if not found:
        return 400, NO_TRAJECTORY
    content = verdict(found)
    prompt_tokens, completion_tokens = len(body) // 4, len(content) // 4
    total_tokens = prompt_tokens + completion_tokens
    return 200, COMPLETION % (number, content, prompt_tokens, completion_tokens, total_tokens)


async def serve(*, port: int, delay_s: float, seed: int) -> None:
    """Listen on the loopback address until killed."""
    stats = Stats()
    routes: Routes = {
        (b"POST", b"/v1/chat/completions"): lambda body: completion(
            body, seed=seed, number=stats.calls
        ),
        (b"GET", b"/v1/models"): lambda _: (200, MODELS),
        (b"GET", b"/stats"): lambda _: (200, stats.body()),
    }
    server = await asyncio.get_running_loop().create_server(
        lambda: JudgeProtocol(routes, stats, delay_s=delay_s), "127.0.0.1", port, backlog=1024
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main(
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    delay_s: Annotated[float, typer.Option(min=0, help="Seconds until a verdict is sent.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Changes every score.")] = 0,
) -> None:
    """Answer chat completions with scripted verdicts."""
    uvloop.run(serve(port=port, delay_s=delay_s, seed=seed))


if __name__ == "__main__":
    typer.run(main)
