"""Settings of what a run measures and keeps."""

from pydantic import Field

from podium_trainer.config.section import Section


class WinRateConfig(Section):
    """The comparison of held-out attempts with those of step 0, by a judge."""

    prompts: int = Field(
        32, ge=0, description="Held-out prompts at most, chosen by the seed; 0: no win rate."
    )
    samples: int = Field(
        2,
        ge=1,
        le=32,
        description="Attempts per prompt, which are ranked in one group with as many of step 0.",
    )


class EvalConfig(Section):
    """The evaluation on held-out prompts."""

    every: int = Field(10, ge=0, description="Steps between evaluations; 0: never.")
    samples: int = Field(
        8, ge=1, description="Attempts per held-out prompt, if the task has a score."
    )
    limit: int | None = Field(
        None, ge=1, description="Number of held-out prompts to use; null: all."
    )
    judge: str | None = Field(
        None,
        min_length=1,
        description="Judge of the win rate; null: `service.judge`. Another one finds out a policy"
        " that has learnt to please its own.",
    )
    rubric: str | None = Field(
        None,
        min_length=1,
        description="Rubric of the win rate; null: `service.rubric`, or `eval.judge`'s own.",
    )
    win_rate: WinRateConfig = WinRateConfig()


class LogConfig(Section):
    """The logs beside the files of the run and the curve, which are always written."""

    samples_every: int = Field(
        10, ge=0, description="Steps between tables of completions; 0: none."
    )
    tensorboard: bool = Field(False, description="Also write TensorBoard events.")
    wandb: str | None = Field(
        None,
        description="Also log to this Weights & Biases project, with tables of completions.",
    )
    trackio: str | None = Field(
        None, description="Also log to this trackio project, with tables of completions."
    )


class CheckpointConfig(Section):
    """The checkpoints from which `--resume` goes on."""

    every: int = Field(
        20, ge=1, description="Steps between checkpoints; the last step always has one."
    )
    keep: int = Field(2, ge=1, description="Number of checkpoints to keep.")
