"""Write the table of error codes, made from errors.py, into the README.

python docs/errors_table.py README.md
"""

import sys
from pathlib import Path

from podium_service import errors

START, END = "<!-- errors: made by `make readme` -->\n", "<!-- /errors -->"


def table() -> str:
    """Every error on the wire, as a Markdown table."""
    lines = ["| code | status | retryable | means |", "|---|---|---|---|"]
    for error in errors.leaves():
        if error is not errors.ConfigError:
            retryable = "yes" if error.retryable else "no"
            lines.append(f"| `{error.code}` | {error.status} | {retryable} | {error.title} |")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """`text` with what stands between the marks replaced by the table."""
    before, rest = text.split(START)
    return before + START + table() + rest[rest.index(END) :]


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
