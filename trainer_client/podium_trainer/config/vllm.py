"""Settings of the vLLM servers that a run starts itself."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from podium_trainer.config.section import Section

# Options that must agree with the rest of the run.
OWN_OPTIONS = ("host", "port", "model", "served-model-name")


class VllmConfig(Section):
    """The vLLM servers that the run starts, with `sampler.launch`."""

    python: Path | None = Field(
        None, description="Python of the environment that has vLLM; null: the trainer's own."
    )
    options: dict[str, Any] = Field(
        {},
        description="Options of vLLM by their names, such as `{max-model-len: 8192}`; `true` is a"
        " flag.",
    )
    gpus: int = Field(1, ge=1, description="GPUs of each server; several hold the model in parts.")
    start_s: float = Field(600.0, gt=0, description="Seconds until a server must answer.")

    @field_validator("options")
    @classmethod
    def _refuse_own_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name in options:
            if name.replace("_", "-") in OWN_OPTIONS:
                raise ValueError(f"{name!r} is set by the run: leave it out")
        return options
