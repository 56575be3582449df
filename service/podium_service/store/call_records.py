"""Judge calls as rows: long texts apart, by hash, since other calls of a group show them, too."""

import time
from hashlib import sha256
from secrets import token_hex
from typing import Any

import orjson
import sqlalchemy as sa

from podium_service.prompts.call import Call
from podium_service.schemas import Usage
from podium_service.store.compression import is_packed, packed, unpacked
from podium_service.store.database.tables import CALLS, TEXTS
from podium_service.store.writes import Rows

_LONG_CHARS = 200


def call_rows(key: str, pass_index: int, judge: str, call: Call, usage: Usage) -> Rows:
    """What is written of one call."""
    texts: dict[bytes, bytes] = {}
    messages = [
        [role, [_stored_part(part, texts) for part in parts]]
        for role, parts in call.prompt.messages
    ]
    now = time.time()
    row = {
        # Later ones come later, so that rows are added at the end of their index.
        "id": f"{int(now * 1e6):016x}{token_hex(8)}",
        "key": key,
        "pass_index": pass_index,
        "created_at": now,
        "judge": judge,
        "model": call.reply.model.replace("\0", ""),
        "prompt": orjson.dumps(messages),
        "reply": call.reply.text.encode(errors="replace"),
        "finish_reason": str(call.reply.finish_reason).replace("\0", ""),
        "verdict": orjson.dumps(call.verdict) if call.verdict else None,
        "fault": call.fault.encode(errors="replace") if call.fault else None,
        "usage": usage.model_dump_json().encode(),
        "latency_s": call.latency_s,
    }
    shown = [{"key": key, "hash": hash_, "content": text} for hash_, text in texts.items()]
    return {TEXTS: shown, CALLS: [row]}


def pack(rows: Rows) -> None:
    """Pack their texts, in place: what is tried again has been packed before."""
    shown = [row for row in rows.get(TEXTS, []) if not is_packed(row["content"])]
    for row, content in zip(shown, packed([row["content"] for row in shown]), strict=True):
        row["content"] = content


def _stored_part(part: str, texts: dict[bytes, bytes]) -> str | dict[str, str]:
    if len(part) <= _LONG_CHARS:
        return part
    content = part.encode()
    digest = sha256(content)
    texts[digest.digest()] = content
    return {"blob": digest.hexdigest()}


def call_record(row: sa.Row[Any], texts: dict[bytes, bytes]) -> dict[str, Any]:
    """One call as it was: its exact prompt and reply. `texts` are packed, by hash."""
    messages = [
        {"role": role, "content": "".join(_part_text(part, texts) for part in parts)}
        for role, parts in orjson.loads(row.prompt)
    ]
    return {
        "pass_index": row.pass_index,
        "created_at": row.created_at,
        "judge": row.judge,
        "model": row.model,
        "messages": messages,
        "reply": row.reply.decode(),
        "finish_reason": row.finish_reason,
        "verdict": orjson.loads(row.verdict) if row.verdict else None,
        "fault": row.fault.decode() if row.fault else None,
        "usage": orjson.loads(row.usage),
        "latency_s": row.latency_s,
    }


def _part_text(part: str | dict[str, str], texts: dict[bytes, bytes]) -> str:
    return part if isinstance(part, str) else unpacked(texts[bytes.fromhex(part["blob"])]).decode()
