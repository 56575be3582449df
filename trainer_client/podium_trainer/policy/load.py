"""Load a `Policy` from a model's folder, with or without adapters."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from podium_trainer.config import ModelConfig
from podium_trainer.policy.chat import Chat
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.processes import FailedTogether, Ranks
from podium_trainer.policy.ranks.shard import shard

HUB_S = 10.0  # for an answer of the hub
UNREACHABLE = ("ConnectError", "OfflineModeIsEnabled")


class PolicyError(FailedTogether):
    """The model cannot be used; one line with the reason and the remedy."""


def check_model_path(path: str) -> None:
    """Check before anything is loaded that a model's folder exists.

    Raises:
        PolicyError: If the path is no folder with a config.json, and no model on the hub either.
    """
    folder = Path(path)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise PolicyError(f"model.path {path!r} holds no config.json: name a model's folder")
    elif path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise PolicyError(
            f"model.path {path!r}: there is no such folder;"
            " `python -m podium_trainer.run.smollm2 DIR` fetches a small model"
        )
    else:
        require_hub_model(path)


def require_hub_model(name: str) -> None:
    """Ask the hub once for a model, because transformers would ask for a minute.

    One that was fetched before passes, and so does all that transformers may fare better with.

    Raises:
        PolicyError: If the hub has no such model, or cannot be reached.
    """
    missing = f"model.path {name!r}: there is no such folder, and"
    try:
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            HfApi().model_info(name, timeout=HUB_S)
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise PolicyError(
            f"{missing} no such model on the hub that this user may see: name a model's folder"
        ) from error
    except Exception as error:  # its library has changed the one that makes its requests before
        if type(error).__name__ in UNREACHABLE:
            raise PolicyError(f"{missing} the hub cannot be reached: {error}") from error


def load_policy(
    config: ModelConfig,
    *,
    temperature: float,
    needs_reference: bool = False,
    weights: Path | None = None,
    ranks: Ranks | None = None,
) -> Policy:
    """Load the model of a config for training.

    With several ranks, all of them call it at once, and the model is sharded.

    Args:
        config: the model section of a recipe.
        temperature: divides the logits, in training and in sampling.
        needs_reference: whether the loss has a KL penalty to a frozen reference.
        weights: a checkpoint's weights, in place of the model's own or of a fresh adapter.
        ranks: the processes that share the model; None if this one has it all.

    Raises:
        PolicyError: If the folder holds no causal LM that transformers can load, its tokenizer has
            no chat template, or torch cannot use the device.
    """
    ranks = ranks or Ranks()
    device = choose_device(config, ranks)
    with ranks.agree(PolicyError):
        model, reference, chat = load_parts(config, device, needs_reference, weights, ranks)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    autocast = config.autocast if config.autocast is not None else has_fast_bfloat16(device)
    if ranks.are_many:
        base = model if config.lora is None else model.get_base_model()
        for each in [base] if reference is None else [base, reference]:
            shard(each, ranks, device, bfloat16=autocast)
        autocast = False  # it would keep a copy of every layer, and the shards are cast already
    return Policy(
        model, chat, temperature=temperature, autocast=autocast, reference=reference, ranks=ranks
    )


def load_parts(
    config: ModelConfig,
    device: torch.device,
    needs_reference: bool,
    weights: Path | None,
    ranks: Ranks,
) -> tuple[Any, Any, Chat]:
    """Load the model, its frozen reference or None, and its chat template.

    With several ranks they lie in the memory of the CPU, and those of followers have no weights:
    `shard` sends them, a layer at a time, so that no GPU needs room for all of them.
    """
    is_full = config.lora is None
    path = str(weights) if weights and is_full else config.path
    load = load_empty if ranks.rank else load_model
    try:
        model = load(path, config)
        if not ranks.are_many:
            model = model.to(device)
        tokenizer = AutoTokenizer.from_pretrained(config.path)
        stops = model.generation_config.eos_token_id
        chat = Chat(
            tokenizer,
            stops if isinstance(stops, list) else [stops],
            config.tool_format,
            config.reasoning_format,
            config.chat_template_kwargs,
        )
        reference = None
        if needs_reference and is_full:
            reference = load(config.path, config).eval().requires_grad_(False)
            if not ranks.are_many:
                reference = reference.to(device)
        if not is_full:
            model = add_adapter(model, config, None if ranks.rank else weights)
    except (AssertionError, RuntimeError) as error:  # torch raises them for an unusable device
        reason = str(error).strip().splitlines()[0]
        raise PolicyError(f"model.device {config.device!r} cannot be used: {reason}") from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first, *more = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"{first} {' '.join(more)}" if first.rstrip().endswith(":") else first
        raise PolicyError(f"model.path {path!r} cannot be loaded: {reason}") from error
    return model, reference, chat


def choose_device(config: ModelConfig, ranks: Ranks | None = None) -> torch.device:
    """Return the device that the policy is trained on: the GPU if there is one, unless set.

    Each rank of a machine has a GPU of its own.

    Raises:
        PolicyError: If torch knows no such device.
    """
    try:
        device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if ranks is not None and ranks.are_many and device.type == "cuda":
            return torch.device("cuda", ranks.local_rank)
        return device
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise PolicyError(f"model.device {config.device!r} cannot be used: {reason}") from error


def load_model(path: str, config: ModelConfig) -> Any:
    """Load a model without its dropout, because the sampler has none and ratios compare the two."""
    dtype = getattr(torch, config.dtype)
    return AutoModelForCausalLM.from_pretrained(path, config=read_settings(path), dtype=dtype)


def load_empty(path: str, config: ModelConfig) -> Any:
    """Make the model that `load_model` loads, whose weights have shapes and no memory."""
    # Imported here, because only followers need it.
    from accelerate import init_empty_weights

    with init_empty_weights():
        dtype = getattr(torch, config.dtype)
        make: Any = AutoModelForCausalLM.from_config  # transformers does not type it
        model = make(read_settings(path), dtype=dtype)
    model.tie_weights()
    return model


def read_settings(path: str) -> Any:
    """Read a model's config, and set all dropout to 0."""
    settings = AutoConfig.from_pretrained(path)
    for name, value in list(vars(settings).items()):
        if "drop" in name and isinstance(value, float):
            setattr(settings, name, 0.0)
    return settings


def add_adapter(model: Any, config: ModelConfig, weights: Path | None) -> Any:
    """Add the adapter, fresh or from a checkpoint, and freeze everything else."""
    # Imported here, because it takes half a second that most runs do not need.
    from peft import LoraConfig, PeftModel, get_peft_model

    if weights is not None:
        return PeftModel.from_pretrained(model, weights, is_trainable=True)
    lora = config.lora
    assert lora is not None
    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,  # as in `load_model`
        target_modules=lora.targets,
    )
    return get_peft_model(model, settings)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 faster than float32.

    GPUs with native bfloat16 do, and CPUs with AVX512-BF16 or AMX.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(is_supported())
