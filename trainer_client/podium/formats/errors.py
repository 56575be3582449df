"""The one error of reading a file or a value that holds no groups."""


class FormatError(ValueError):
    """The file, or one row of it, has no form that is read; `str(error)` is one line."""
