"""Names of test functions stay short enough to read in a list of results."""

import ast
from pathlib import Path

MAX_NAME_CHARS = 60


def test_no_name_of_a_test_is_longer_than_60_characters() -> None:
    functions = (
        node
        for path in Path(__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    names = [each.name for each in functions if each.name.startswith("test_")]
    assert names
    assert [name for name in names if len(name) > MAX_NAME_CHARS] == []
