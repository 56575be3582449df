"""The forms of rows that files hold, each told by the fields of one row.

To add one:

1. write a module with `fits(row)`, which says why a row is taken for the form or returns None, and
   `read(row)`, which returns its records by the functions of attempts.py, and a `FORMATS` list,
2. enter that list in `FORMATS`, before the forms that it could be taken for,
3. give it a row in docs/generate/files.py, which the tests and the table in the docs are made of.
"""

from podium.formats.record import Format
from podium.formats.rows import (
    api_answers,
    art,
    chat_rows,
    completions,
    langfuse,
    otel,
    podium_groups,
    preferences,
)

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        *podium_groups.FORMATS,
        *art.FORMATS,
        *otel.FORMATS,
        *api_answers.BATCH,
        *preferences.FORMATS,
        *langfuse.FORMATS,
        *api_answers.FORMATS,
        *completions.LISTS,
        *chat_rows.FORMATS,
        *completions.FORMATS,
    )
}
