"""Writes the parts of the documentation that follow from the code; `make docs` runs it.

A page holds such a part between `<!-- generated: NAME -->` and `<!-- end of NAME -->`. To add one:

1. write a function without arguments that returns Markdown,
2. enter it in `PARTS` of `__main__.py`,
3. put both marks into a page, and run `make docs`.
"""
