"""Settings of the task, the sampler and the rollout: what is played, by whom, how often."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from podium_trainer.config.section import Section
from podium_trainer.config.vllm import VllmConfig

DEFAULT_URLS = ["http://127.0.0.1:8001"]


class TaskConfig(Section):
    """The task that the policy is trained on."""

    name: str = Field(
        description="`addition`, `data`, `environment_server`, `guess`, `prices`, `questions`,"
        " `till`, `verifiers`, or module:function; the module may be a file of the current folder."
    )
    options: dict[str, Any] = Field(
        {},
        description="Arguments of the task, such as the path of data; as a flag each by its name:"
        " `--task.options.path prompts.jsonl`.",
    )
    system: str | None = Field(
        None,
        min_length=1,
        description="System prompt, which comes before all other messages; a prompt's own system"
        " message follows it.",
    )
    reward: str | None = Field(
        None,
        description="What is sent with each attempt as its `verified_reward`: `score` for the"
        " task's own score, the name of a scorer, or module:function; null: what the task itself"
        " sends, by default nothing.",
    )
    tool_timeout_s: float = Field(10.0, gt=0, description="Time limit of one tool call.")


class EnvironmentConfig(Section):
    """The environments of a task that has one for each attempt."""

    kind: Literal["thread", "process"] = Field(
        "thread",
        description="Run an attempt's environment in this process, or in a process of its own that"
        " may crash or use another core.",
    )
    workers: int = Field(
        64, ge=1, description="Calls that run at once; async ones of kind `thread` are not counted."
    )
    timeout_s: float = Field(
        60.0, gt=0, description="Time limit of one call; an attempt that exceeds it is left out."
    )


class SamplerConfig(Section):
    """The source of completions."""

    kind: Literal["local", "vllm"] = Field(
        "local", description="Sample in this process, or from vLLM servers over HTTP."
    )
    urls: list[str] = Field(
        DEFAULT_URLS,
        min_length=1,
        description="URLs of vLLM servers that run already; they share the work.",
    )
    launch: bool = Field(
        False,
        description="Start the vLLM servers on this machine, and end them with the run; `urls` are"
        " not used then.",
    )
    servers: int = Field(1, ge=1, description="Number of servers to start.")
    colocate: bool = Field(
        False,
        description="Let the first server that is started use the trainer's GPU, and sleep during"
        " the update.",
    )
    vllm: VllmConfig = Field(VllmConfig(), description="The servers that `launch` starts.")
    min_servers: int = Field(
        1, ge=1, description="Servers with which the run goes on while others are gone or behind."
    )
    wait_s: float = Field(
        600.0,
        gt=0,
        description="Seconds to wait for `min_servers` before the run saves its state and stops.",
    )
    model_name: str = Field("policy", description="The --served-model-name of the servers.")
    weights_dir: Path | None = Field(
        None,
        description="Folder for new weights, which trainer and servers see under the same path;"
        " null: a folder in `out`.",
    )
    weight_sync: Literal["disk", "stream"] = Field(
        "disk",
        description="How vLLM servers get all weights: `disk` from files in `weights_dir`, `stream`"
        " over the network.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None,
        description="Type in which all weights are pushed to vLLM servers; null: the one that they"
        " compute in, if they tell it.",
    )
    timeout_s: float = Field(600.0, gt=0, description="Seconds that one sampling call may take.")
    admin_timeout_s: float = Field(
        120.0, gt=0, description="Seconds that one call of a weight sync may take."
    )
    temperature: float = Field(
        1.0, gt=0, le=5, description="Divides the logits, in the sampler and in the trainer."
    )
    max_tokens: int = Field(256, ge=1, description="Tokens of one completion at most.")
    max_rows: int = Field(
        256, ge=1, description="Local sampler: completions that are decoded at the same time."
    )
    parity_bound: float = Field(
        0.1,
        gt=0,
        description="Largest mean |log ratio| between sampler and policy before the first step; a"
        " bfloat16 sampler of a float32 policy has about .04.",
    )

    @property
    def samples_in_updates(self) -> bool:
        """Whether completions can be drawn while the policy is updated."""
        return self.kind == "vllm" and not self.colocate

    @model_validator(mode="after")
    def _refuse_impossible_minimum(self) -> "SamplerConfig":
        count, what = (self.servers, "servers") if self.launch else (len(self.urls), "urls")
        if self.kind == "vllm" and self.min_servers > count:
            raise ValueError(
                f"min_servers {self.min_servers} exceeds the number of {what}, {count}"
            )
        return self

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> "SamplerConfig":
        if self.launch and self.kind != "vllm":
            raise ValueError("launch starts vLLM servers: set kind: vllm")
        if self.launch and self.urls != DEFAULT_URLS:
            raise ValueError("urls are those of servers that run already: leave out urls or launch")
        if self.servers != 1 and not self.launch:
            raise ValueError(f"servers {self.servers} are started with launch: true only")
        if self.weight_sync == "stream" and self.kind != "vllm":
            raise ValueError("weight_sync: stream goes to vLLM servers: set kind: vllm")
        if self.colocate and not self.launch:
            raise ValueError("colocate needs a server that the run starts: set launch: true")
        return self


class RolloutConfig(Section):
    """The number of trajectories of a step."""

    prompts_per_step: int = Field(8, ge=1, description="Groups with signal per step.")
    group_size: int = Field(8, ge=2, le=64, description="Trajectories per group.")
    max_refills: int = Field(
        1, ge=0, description="Times that groups without signal or ranking are replaced, per step."
    )
    max_staleness: int | None = Field(
        None,
        ge=0,
        description="Steps that are rolled out and ranked ahead of the update; a token's weights"
        " are at most so many updates older than those it trains. null: 1 with vLLM, 0 with the"
        " local sampler, which draws from the weights in training, and with `sampler.colocate`.",
    )
    mask_truncated: bool = Field(
        False, description="Count truncated attempts in the baseline, but do not train on them."
    )
