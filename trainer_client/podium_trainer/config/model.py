"""Settings of the policy."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from podium_trainer.config.section import Section

# Arguments of `apply_chat_template` that are no variables of a template, or that the trainer sets.
OWN_VARIABLES = {
    "add_generation_prompt", "chat_template", "continue_final_message", "conversation",
    "max_length", "messages", "padding", "return_assistant_tokens_mask", "return_dict",
    "return_tensors", "tokenize", "tokenizer_kwargs", "tools", "truncation",
}  # fmt: skip


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

    path: str = Field(min_length=1, description="Folder or hub name of a Hugging Face causal LM.")
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
    chat_template_kwargs: dict[str, Any] = Field(
        {}, description="Variables of the chat template, such as `{enable_thinking: false}`."
    )
    tool_format: Literal["hermes", "llama3_json"] | None = Field(
        None, description="How the model writes tool calls; null: the form in its chat template."
    )
    reasoning_format: Literal["think", "mistral", "seed", "granite", "none"] | None = Field(
        None,
        description="How the model marks its thoughts; null: the form in its chat template, else"
        " `<think>...</think>`; `none`: they are part of the answer.",
    )

    @field_validator("chat_template_kwargs")
    @classmethod
    def _refuse_own(cls, values: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(OWN_VARIABLES & set(values)):
            raise ValueError(f"the trainer itself sets {', '.join(taken)}: leave it out")
        return values

    @model_validator(mode="after")
    def _refuse_bfloat16_weights(self) -> "ModelConfig":
        if self.dtype == "bfloat16" and self.lora is None:
            raise ValueError(
                "dtype bfloat16 rounds away small updates of all weights: set float32 (autocast"
                " still multiplies in bfloat16), or train lora"
            )
        return self
