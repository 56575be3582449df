"""A recipe: every setting of a run, from a YAML file and the command line.

To add a setting: give its section, in the module of this package that has it, a field with a type,
a default and a description. It is then documented by `podium-train --help`, and can be set in YAML
as `section: {name: value}` and on the command line as `--section.name value`. A value that does not
fit is refused by the field's name. A run that resumes must have the same value, unless
`records.made_with.FREE` names the setting.
"""

from pathlib import Path

from pydantic import Field, model_validator

from podium_trainer.config.learning import (
    AdvantageName,
    LossConfig,
    LossName,
    OptimizerConfig,
    ServiceConfig,
)
from podium_trainer.config.model import LoraConfig, ModelConfig
from podium_trainer.config.records import CheckpointConfig, EvalConfig, LogConfig, WinRateConfig
from podium_trainer.config.sampling import (
    EnvironmentConfig,
    RolloutConfig,
    SamplerConfig,
    TaskConfig,
)
from podium_trainer.config.section import Section
from podium_trainer.config.vllm import VllmConfig

__all__ = [
    "AdvantageName",
    "CheckpointConfig",
    "EnvironmentConfig",
    "EvalConfig",
    "LogConfig",
    "LoraConfig",
    "LossConfig",
    "LossName",
    "ModelConfig",
    "OptimizerConfig",
    "RolloutConfig",
    "SamplerConfig",
    "Section",
    "ServiceConfig",
    "TaskConfig",
    "TrainConfig",
    "VllmConfig",
    "WinRateConfig",
]


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
    ray: str | None = Field(
        None,
        description="Have Ray start the trainer and its vLLM servers on the machines of a cluster:"
        " `auto` for the one that this machine belongs to, or HOST:PORT of its head; null: start"
        " them here.",
    )
    ranks: int = Field(
        1,
        ge=1,
        description="Processes that train, each with a GPU of its own, which Ray starts; without"
        " `ray` it is not used: there is one, or as many as torchrun starts.",
    )
    service: ServiceConfig = ServiceConfig()
    sampler: SamplerConfig = SamplerConfig()
    rollout: RolloutConfig = RolloutConfig()
    environment: EnvironmentConfig = EnvironmentConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    eval: EvalConfig = EvalConfig()
    log: LogConfig = LogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    max_idle_steps: int = Field(
        10, ge=1, description="Stop after so many steps in a row without a group to train on."
    )
    max_skipped_steps: int = Field(
        3,
        ge=1,
        description="Stop after so many updates in a row that failed: a gradient that is not"
        " finite, or no memory. Until then such a step is skipped.",
    )

    @property
    def max_staleness(self) -> int:
        """The number of gathers that run ahead of the update."""
        if self.rollout.max_staleness is None:
            return int(self.sampler.samples_in_updates)
        return self.rollout.max_staleness

    @property
    def run_name(self) -> str:
        """The name of the run for the service and for trackers: that of its folder."""
        return self.out.resolve().name or "run"

    @model_validator(mode="after")
    def _refuse_a_stream_of_adapters(self) -> "TrainConfig":
        if self.model.lora is not None and self.sampler.weight_sync == "stream":
            raise ValueError(
                "sampler.weight_sync: stream sends all weights, and model.lora trains adapters,"
                " which go as files: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _refuse_gathers_within_an_update(self) -> "TrainConfig":
        if self.max_staleness and not self.sampler.samples_in_updates:
            raise ValueError(
                f"rollout.max_staleness: {self.max_staleness}: must be 0 with sampler.kind local,"
                " which draws from the weights in training, and with sampler.colocate, whose server"
                " sleeps during the update"
            )
        return self
