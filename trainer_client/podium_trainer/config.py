"""A recipe: every setting of a run, from a YAML file and the command line.

To add a setting: give its section a field with a type, a default and a description. It is then
documented by `podium-train --help`, and can be set in YAML as `section: {name: value}` and on the
command line as `--section.name value`. A value that does not fit is refused by the field's name.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# The names in `loss.LOSSES` and `advantages.ADVANTAGES`, repeated here because those modules import
# torch. A test compares them.
LossName = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "reinforce", "rft"]
AdvantageName = Literal["mean", "group_std", "batch_std", "leave_one_out", "best"]


Decay = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A section of a recipe; it refuses unknown names and values of another type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class LoraConfig(Section):
    """Low-rank adapters: only they are trained, and a sampler swaps them in less than a second."""

    rank: int = Field(16, ge=1, description="Rank of the adapters.")
    alpha: int = Field(
        32, ge=1, description="Scale of the adapters; the weights change by alpha / rank x B A."
    )
    targets: str | list[str] = Field(
        "all-linear", description="Modules that get adapters, by the names that peft uses."
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _name_for_all(cls, targets: Any) -> Any:
        """Undo the list that the command line makes of the one name."""
        return "all-linear" if targets == ["all-linear"] else targets


class ModelConfig(Section):
    """The policy."""

    path: str = Field(description="Folder or hub name of a Hugging Face causal LM.")
    device: str | None = Field(
        None, description="`cpu`, `cuda`, ...; null: the GPU if there is one."
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    autocast: bool | None = Field(
        None, description="Multiply matrices in bfloat16; null: where the hardware is fast at it."
    )
    gradient_checkpointing: bool = Field(
        False, description="Save memory: compute activations twice instead of keeping them."
    )
    lora: LoraConfig | None = Field(None, description="Train adapters; null: train all weights.")
    tool_format: Literal["hermes", "llama3_json"] | None = Field(
        None, description="How the model writes tool calls; null: the form in its chat template."
    )

    @model_validator(mode="after")
    def _refuse_bfloat16_weights(self) -> "ModelConfig":
        if self.dtype == "bfloat16" and self.lora is None:
            raise ValueError(
                "dtype bfloat16 rounds away small updates of all weights: set float32 (autocast"
                " still multiplies in bfloat16), or train lora"
            )
        return self


class TaskConfig(Section):
    """The task that the policy is trained on."""

    name: str = Field(
        description="`addition`, `jsonl`, `prices`, `questions`, or package.module:function."
    )
    options: dict[str, Any] = Field({}, description="Arguments of the task, such as jsonl's path.")
    tool_timeout_s: float = Field(10.0, gt=0, description="Time limit of one tool call.")


class SamplerConfig(Section):
    """The source of completions."""

    kind: Literal["local", "vllm"] = Field(
        "local", description="Sample in this process, or from vLLM servers over HTTP."
    )
    urls: list[str] = Field(
        ["http://127.0.0.1:8001"],
        min_length=1,
        description="URLs of vLLM servers, which share the work.",
    )
    model_name: str = Field("policy", description="The --served-model-name of the servers.")
    weights_dir: Path | None = Field(
        None,
        description="Folder for new weights, which trainer and servers see under the same path;"
        " null: a folder in `out`.",
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


class RolloutConfig(Section):
    """The number of trajectories of a step."""

    prompts_per_step: int = Field(8, ge=1, description="Groups with signal per step.")
    group_size: int = Field(8, ge=2, le=64, description="Trajectories per group.")
    max_refills: int = Field(
        1, ge=0, description="Times that groups without signal or ranking are replaced, per step."
    )
    mask_truncated: bool = Field(
        False, description="Count truncated completions in the baseline, but do not train on them."
    )


class ServiceConfig(Section):
    """The reward service."""

    url: str | None = Field(None, description="URL; null: PODIUM_URL, else http://127.0.0.1:8000.")
    judge: str | None = Field(
        None, description="Name of a judge; null: the default of the service."
    )
    rubric: str | None = Field(None, description="Rubric that replaces the judge's own.")
    deadline_s: float = Field(
        300.0, gt=0, le=3600, description="Seconds that the ranking of a step may take."
    )


class LossConfig(Section):
    """The loss: from advantages to a gradient."""

    name: LossName = Field("dapo", description="Name of the loss.")
    advantages: AdvantageName | None = Field(
        None,
        description="Advantage scheme; null: `best` for rft, else `mean`.",
    )
    clip_low: float | None = Field(
        None, ge=0, le=1, description="Clip ratios below 1 - clip_low; null: the loss's own value."
    )
    clip_high: float | None = Field(
        None, ge=0, description="Clip ratios above 1 + clip_high; null: the loss's own value."
    )
    ratio_cap: float = Field(
        3.0,
        ge=1,
        description="Largest importance weight of a token; gspo and cispo clip their own.",
    )
    sequence_ratio_bounds: tuple[float, float] | None = Field(
        (0.5, 2.0),
        description="Leave out sequences whose geometric mean ratio is outside; null: none.",
    )
    kl: Literal["none", "k1", "k2", "k3"] = Field(
        "none", description="Estimator of the KL penalty to the first policy."
    )
    kl_coef: float = Field(0.01, ge=0, description="Weight of the KL penalty.")

    @field_validator("sequence_ratio_bounds", mode="before")
    @classmethod
    def _null(cls, bounds: Any) -> Any:
        """Undo the list that the command line makes of `null`."""
        return None if bounds == [None] else bounds

    @field_validator("sequence_ratio_bounds")
    @classmethod
    def _enclose_one(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and not bounds[0] < 1 < bounds[1]:
            raise ValueError("must enclose 1")
        return bounds


class OptimizerConfig(Section):
    """The optimizer, AdamW: from a gradient to new weights."""

    lr: float = Field(1e-5, gt=0, description="Learning rate after warm-up.")
    warmup_steps: int = Field(5, ge=0, description="Steps of linear warm-up.")
    decay: Literal["constant", "linear"] = Field(
        "constant",
        description="Keep the rate, or lower it to 0 over the run; `linear` kept an untrained model"
        " from forgetting.",
    )
    betas: tuple[Decay, Decay] = Field(
        (0.9, 0.99), description="Decay rates of Adam's two averages, in [0, 1)."
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Norm to which gradients are clipped.")
    passes: int = Field(1, ge=1, description="Times that a rollout is trained on.")
    mini_batches: int = Field(1, ge=1, description="Optimizer steps per pass.")
    micro_batch_tokens: int = Field(
        4096,
        ge=16,
        description="Tokens that the model computes at once; it changes only memory and speed.",
    )


class EvalConfig(Section):
    """The evaluation on held-out prompts."""

    every: int = Field(10, ge=0, description="Steps between evaluations; 0: never.")
    samples: int = Field(8, ge=1, description="Attempts per held-out prompt.")
    limit: int | None = Field(
        None, ge=1, description="Number of held-out prompts to use; null: all."
    )


class LogConfig(Section):
    """The logs beside `metrics.jsonl`, `timings.jsonl` and the curve, which are always written."""

    samples_every: int = Field(
        10, ge=0, description="Steps between tables of completions; 0: none."
    )
    tensorboard: bool = Field(False, description="Also write TensorBoard events.")
    wandb: str | None = Field(None, description="Also log to this Weights & Biases project.")


class CheckpointConfig(Section):
    """The checkpoints from which `--resume` goes on."""

    every: int = Field(
        20, ge=1, description="Steps between checkpoints; the last step always has one."
    )
    keep: int = Field(2, ge=1, description="Number of checkpoints to keep.")


class TrainConfig(Section):
    """All settings of a run."""

    model: ModelConfig
    task: TaskConfig
    out: Path = Field(Path("runs/latest"), description="Folder for the files of the run.")
    steps: int = Field(
        100, ge=1, description="Steps of the run; each one makes a rollout and an update."
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the order of prompts, of sampling and of adapters."
    )
    service: ServiceConfig = ServiceConfig()
    sampler: SamplerConfig = SamplerConfig()
    rollout: RolloutConfig = RolloutConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    eval: EvalConfig = EvalConfig()
    log: LogConfig = LogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    max_idle_steps: int = Field(
        10, ge=1, description="Stop after so many steps in a row without a group to train on."
    )
