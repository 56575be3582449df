"""What a figure must name: where, when and with what it was measured."""

import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

NAMES = ("openai", "fastapi", "uvicorn", "pydantic", "sqlalchemy")


def machine() -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": psutil.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in NAMES},
    }


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((ln.split(": ")[1] for ln in lines if ln.startswith("model name")), "unknown")
