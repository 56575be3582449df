"""The examples of what people say about a group; a test validates each by its model."""

from typing import Any

NOTE_REQUEST: dict[str, Any] = {"text": "b guessed: the tool was never called."}

NOTE: dict[str, Any] = {
    "id": "330ba11c5d800a17",
    "at": 1796001234.5,
    "person": "ada",
    "api_key_id": "8f2c1d90ab34",
    **NOTE_REQUEST,
}

NOTE_LIST: dict[str, Any] = {"notes": [NOTE]}

ORDER_REQUEST: dict[str, Any] = {"tiers": [["a"], ["b"]], "is_blind": False}

ORDER: dict[str, Any] = {
    "at": 1796001240.0,
    "person": "ada",
    "api_key_id": "8f2c1d90ab34",
    **ORDER_REQUEST,
    "tau": 1.0,
}

ORDER_LIST: dict[str, Any] = {"orders": [ORDER]}
