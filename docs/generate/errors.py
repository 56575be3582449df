"""The table of error codes, from the classes of `podium_service.errors`."""

from docs.generate.tables import table
from podium_service import errors


def error_codes() -> str:
    """Return every error that a caller may get, as a table."""
    rows = [
        (f"`{each.code}`", str(each.status), "yes" if each.retryable else "no", each.title)
        for each in errors.leaves()
        if each is not errors.ConfigError  # it stops the start, and is never sent
    ]
    return table(("code", "status", "retryable", "meaning"), rows)
