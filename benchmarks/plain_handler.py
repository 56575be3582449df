"""What one writes in an afternoon instead of Podium: a FastAPI handler around one openai call.

    python -m benchmarks.plain_handler --judge-url http://127.0.0.1:PORT/v1

No store, no retries of a bad verdict, no ids hidden from the judge, and scores are zipped by
position: a baseline for speed, to be copied by nobody.
"""

import json
import socket
from typing import Annotated, Any

import typer
import uvicorn
from fastapi import FastAPI
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from openai.types.shared_params import ResponseFormatJSONSchema
from pydantic import BaseModel

SYSTEM = (
    "All of the trajectories below were given the same goal. Score each of them between 0 and 1. "
    "Answer with one entry a trajectory, in the order given."
)


class Trajectory(BaseModel):
    id: str
    messages: list[dict[str, Any]]


class Group(BaseModel):
    task: str | None = None
    trajectories: list[Trajectory]


class Score(BaseModel):
    trajectory_id: str
    explanation: str
    score: float


class Scores(BaseModel):
    scores: list[Score]


class Reward(BaseModel):
    id: str
    reward: float
    explanation: str


class Ranked(BaseModel):
    rewards: list[Reward]


RESPONSE_FORMAT: ResponseFormatJSONSchema = {
    "type": "json_schema",
    "json_schema": {"name": "scores", "schema": Scores.model_json_schema()},
}


def prompt(group: Group) -> list[ChatCompletionMessageParam]:
    shown = "\n\n".join(
        f'<trajectory id="{number}">\n{json.dumps(trajectory.messages)}\n</trajectory>'
        for number, trajectory in enumerate(group.trajectories, start=1)
    )
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Trajectories:\n\n{shown}"},
    ]


def create_app(judge_url: str) -> FastAPI:
    app = FastAPI()
    client = AsyncOpenAI(base_url=judge_url, api_key="none")

    @app.post("/rank")
    async def rank(group: Group) -> Ranked:
        completion = await client.chat.completions.create(
            model="scripted",
            messages=prompt(group),
            response_format=RESPONSE_FORMAT,
        )
        scores = json.loads(completion.choices[0].message.content or "")["scores"]
        return Ranked(
            rewards=[
                Reward(id=trajectory.id, reward=said["score"], explanation=said["explanation"])
                for trajectory, said in zip(group.trajectories, scores, strict=True)
            ]
        )

    return app


def main(
    judge_url: Annotated[str, typer.Option(help="An OpenAI base URL.")],
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
) -> None:
    """Serve POST /rank on the loopback address."""
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(create_app(judge_url), access_log=False)
    typer.echo(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", err=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    typer.run(main)
