"""Settings of the reward service, the loss and the optimizer: from attempts to new weights."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from podium_trainer.config.section import Section

# The names in `loss.LOSSES` and `advantages.ADVANTAGES`, repeated here because those modules import
# torch. A test compares them.
LossName = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "reinforce", "rft"]
AdvantageName = Literal["mean", "group_std", "batch_std", "leave_one_out", "best"]

Decay = Annotated[float, Field(ge=0, lt=1)]


class ServiceConfig(Section):
    """The reward service."""

    url: str | None = Field(
        None, min_length=1, description="URL; null: PODIUM_URL, else http://127.0.0.1:8000."
    )
    judge: str | None = Field(
        None, min_length=1, description="Name of a judge; null: the default of the service."
    )
    rubric: str | None = Field(
        None, min_length=1, description="Rubric that replaces the judge's own."
    )
    deadline_s: float = Field(
        300.0,
        gt=0,
        le=3600,
        description="Seconds that the ranking of a group may take; that of a win rate, as a whole.",
    )


class LossConfig(Section):
    """The loss: from advantages to a gradient."""

    name: LossName = Field("dapo", description="Name of the loss.")
    advantages: AdvantageName | None = Field(
        None,
        description="Advantage scheme; null: `best` for rft, else `mean`.",
    )
    clip_low: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Clip ratios to the policy at the start of the update below 1 - clip_low; null:"
        " the loss's own value.",
    )
    clip_high: float | None = Field(
        None, ge=0, description="Clip ratios above 1 + clip_high; null: the loss's own value."
    )
    dual_clip: float | None = Field(
        3.0,
        gt=1,
        description="Largest ratio by which a negative advantage counts in a clipped loss;"
        " null: no bound.",
    )
    importance_cap: float = Field(
        3.0,
        ge=1,
        description="Largest weight with which a token's loss corrects for the sampler.",
    )
    sequence_ratio_bounds: tuple[float, float] | None = Field(
        (0.5, 2.0),
        description="Leave out sequences whose geometric mean ratio to the sampler is outside;"
        " null: none.",
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

    lr: float | None = Field(
        None,
        gt=0,
        description="Learning rate after warm-up; null: by the size of the model and by whether"
        " adapters are trained, see below.",
    )
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
    offload: bool = Field(
        False,
        description="Keep AdamW's averages in the memory of the CPU and take its steps there: frees"
        " 8 bytes of a GPU for each trained weight, and costs time.",
    )
    passes: int = Field(1, ge=1, description="Times that a rollout is trained on.")
    mini_batches: int = Field(
        1, ge=1, description="Optimizer steps per pass; a group is never split."
    )
    micro_batch_tokens: int = Field(
        4096,
        ge=16,
        description="Tokens that the model computes at once; it changes only memory and speed.",
    )
