"""The log: what becomes of a line that nobody can read."""

import os
import subprocess
import sys

TALKS = """
import structlog
from service import logs
logs.configure("info")
structlog.get_logger().info("spoken")
print("alive")
"""


def test_a_line_that_cannot_be_written_hurts_nobody() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run(
        [sys.executable, "-c", TALKS], stdout=subprocess.PIPE, stderr=writer, check=False
    )
    os.close(writer)
    assert finished.stdout == b"alive\n"
