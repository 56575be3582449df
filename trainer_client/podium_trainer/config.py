"""A recipe: every setting of a run, from a YAML file and the command line.

To add a setting: give its section a field with a type, a default and a description. It is then
documented by `podium-train --help`, settable in YAML as `section: {name: value}` and on the command
line as `--section.name value`, and refused by name when the value does not fit.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# As `loss.LOSSES` and `advantages.ADVANTAGES`, which import torch: a test holds them together.
LossName = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "reinforce", "rft"]
AdvantageName = Literal["mean", "group_std", "batch_std", "leave_one_out", "best"]


Decay = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Part of a recipe: unknown names are refused, values must be of their type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class LoraConfig(Section):
    """Low-rank adapters, which alone are trained; the sampler swaps them in a moment."""

    rank: int = Field(16, ge=1, description="Rank of the adapters.")
    alpha: int = Field(32, ge=1, description="Scale; the update is alpha / rank x B A.")
    targets: str | list[str] = Field(
        "all-linear", description="Modules that get adapters, as peft names them."
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _all(cls, targets: Any) -> Any:
        return "all-linear" if targets == ["all-linear"] else targets  # from the command line


class ModelConfig(Section):
    """The policy."""

    path: str = Field(description="Folder or hub name of a Hugging Face causal LM.")
    device: str | None = Field(None, description="`cpu`, `cuda`, ...; the GPU if there is one.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    autocast: bool | None = Field(
        None, description="Matrix products in bfloat16; where the hardware is good at it."
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations twice instead of keeping them."
    )
    lora: LoraConfig | None = Field(None, description="Train adapters; null trains all weights.")
    tool_format: Literal["hermes", "llama3_json"] | None = Field(
        None, description="How the model writes tool calls; null: as its chat template says."
    )

    @model_validator(mode="after")
    def _small_steps_must_count(self) -> "ModelConfig":
        if self.dtype == "bfloat16" and self.lora is None:
            raise ValueError(
                "dtype bfloat16 rounds small updates of all weights away: take float32 (autocast"
                " still multiplies in bfloat16), or lora"
            )
        return self


class TaskConfig(Section):
    """What it is trained on."""

    name: str = Field(description="`addition`, `jsonl`, `prices`, or package.module:function.")
    options: dict[str, Any] = Field({}, description="Arguments of the task, such as jsonl's path.")
    tool_timeout_s: float = Field(10.0, gt=0, description="Time limit of one tool call.")


class SamplerConfig(Section):
    """Where completions come from."""

    kind: Literal["local", "vllm"] = Field(
        "local", description="In this process, or vLLM servers over HTTP."
    )
    urls: list[str] = Field(
        ["http://127.0.0.1:8001"], min_length=1, description="vLLM servers; work is shared out."
    )
    model_name: str = Field("policy", description="The servers' --served-model-name.")
    weights_dir: Path | None = Field(
        None,
        description="Folder for new weights, seen by trainer and servers under the same path; null:"
        " within `out`.",
    )
    timeout_s: float = Field(600.0, gt=0, description="Limit of one sampling call.")
    admin_timeout_s: float = Field(120.0, gt=0, description="Limit of one weight sync call.")
    temperature: float = Field(1.0, gt=0, le=5, description="Divides the logits, here and there.")
    max_tokens: int = Field(256, ge=1, description="Most tokens of one completion.")
    max_rows: int = Field(256, ge=1, description="Local: completions decoded side by side.")
    parity_bound: float = Field(
        0.1,
        gt=0,
        description="Largest mean |log ratio| between sampler and policy at the start; a bfloat16"
        " sampler of a float32 policy has about .04.",
    )


class RolloutConfig(Section):
    """How many trajectories a step has."""

    prompts_per_step: int = Field(8, ge=1, description="Groups with signal per step.")
    group_size: int = Field(8, ge=2, le=64, description="Trajectories per group.")
    max_refills: int = Field(
        1, ge=0, description="Times that groups without signal or ranking are replaced, per step."
    )
    mask_truncated: bool = Field(
        False, description="Over-long completions count for the baseline but are not trained on."
    )


class ServiceConfig(Section):
    """The reward service."""

    url: str | None = Field(None, description="Null: PODIUM_URL, else http://127.0.0.1:8000.")
    judge: str | None = Field(None, description="A judge's name; null: the service's default.")
    rubric: str | None = Field(None, description="Replaces the judge's rubric.")
    deadline_s: float = Field(300.0, gt=0, le=3600, description="Limit of one step's ranking.")


class LossConfig(Section):
    """From advantages to a gradient."""

    name: LossName = Field("dapo", description="One of podium_trainer.update.loss.LOSSES.")
    advantages: AdvantageName | None = Field(
        None,
        description="One of advantages.ADVANTAGES; null: `best` for rft, else `mean`.",
    )
    clip_low: float | None = Field(
        None, ge=0, le=1, description="Clip below 1 - this; null: the loss's own."
    )
    clip_high: float | None = Field(
        None, ge=0, description="Clip above 1 + this; null: the loss's own."
    )
    ratio_cap: float = Field(
        3.0, ge=1, description="Largest importance weight of a token; gspo and cispo clip theirs."
    )
    sequence_ratio_bounds: tuple[float, float] | None = Field(
        (0.5, 2.0), description="Sequences whose geometric mean ratio is outside are left out."
    )
    kl: Literal["none", "k1", "k2", "k3"] = Field("none", description="Penalty to a reference.")
    kl_coef: float = Field(0.01, ge=0, description="Its weight.")

    @field_validator("sequence_ratio_bounds", mode="before")
    @classmethod
    def _nothing(cls, bounds: Any) -> Any:
        return None if bounds == [None] else bounds  # what `null` on the command line becomes

    @field_validator("sequence_ratio_bounds")
    @classmethod
    def _hold_one(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and not bounds[0] < 1 < bounds[1]:
            raise ValueError("must enclose 1")
        return bounds


class OptimizerConfig(Section):
    """From a gradient to weights. AdamW."""

    lr: float = Field(1e-5, gt=0, description="Learning rate after warm-up.")
    warmup_steps: int = Field(5, ge=0, description="Steps of linear warm-up.")
    decay: Literal["constant", "linear"] = Field(
        "constant",
        description="Hold the rate, or lower it to 0 over the run, which held what a model learnt"
        " from scratch.",
    )
    betas: tuple[Decay, Decay] = Field((0.9, 0.99), description="Adam's averages, in [0, 1).")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    passes: int = Field(1, ge=1, description="Times that a rollout is gone through.")
    mini_batches: int = Field(1, ge=1, description="Optimizer steps per pass.")
    micro_batch_tokens: int = Field(
        4096, ge=16, description="Tokens in the model at once; changes memory and nothing else."
    )


class EvalConfig(Section):
    """The held-out set."""

    every: int = Field(10, ge=0, description="Steps between evaluations; 0: never.")
    samples: int = Field(8, ge=1, description="Attempts per held-out prompt.")
    limit: int | None = Field(None, ge=1, description="Use the first prompts only.")


class LogConfig(Section):
    """What is written and shown. `metrics.jsonl`, `timings.jsonl` and the curve always are."""

    samples_every: int = Field(
        10, ge=0, description="Steps between tables of completions; 0: none."
    )
    tensorboard: bool = Field(False, description="Also write TensorBoard events.")
    wandb: str | None = Field(None, description="Also log to this Weights & Biases project.")


class CheckpointConfig(Section):
    """What a killed run goes on from."""

    every: int = Field(20, ge=1, description="Steps between checkpoints; the last always is one.")
    keep: int = Field(2, ge=1, description="How many are kept.")


class TrainConfig(Section):
    """Every setting of a run."""

    model: ModelConfig
    task: TaskConfig
    out: Path = Field(Path("runs/latest"), description="Folder of this run's files.")
    steps: int = Field(100, ge=1, description="Rollouts to make and learn from.")
    seed: int = Field(0, ge=0, lt=2**32, description="Decides order, draws and adapters.")
    service: ServiceConfig = ServiceConfig()
    sampler: SamplerConfig = SamplerConfig()
    rollout: RolloutConfig = RolloutConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    eval: EvalConfig = EvalConfig()
    log: LogConfig = LogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    max_idle_steps: int = Field(
        10, ge=1, description="Stop after this many steps in a row without any group to train on."
    )
