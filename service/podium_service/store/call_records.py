"""Turn judge calls into rows and back; long texts are stored apart, because calls share them."""

import time
from dataclasses import replace
from hashlib import sha256
from secrets import token_hex
from typing import Any

import orjson
import sqlalchemy as sa

from podium_service.prompts.call import Call
from podium_service.prompts.message_parts.images import Part, ShownImage, to_content
from podium_service.schemas import Usage
from podium_service.store.database.compression import compress_all, decompress, is_compressed
from podium_service.store.database.database import Rows
from podium_service.store.database.tables import CALLS, TEXTS
from podium_service.store.quotas.payer import NOBODY, Payer

_MAX_INLINE_CHARS = 200
_NO_VERDICT = "no verdict (texts are not kept)"  # a fault may quote the reply


def call_rows(
    key: str,
    pass_index: int,
    judge: str,
    call: Call,
    usage: Usage,
    payer: Payer = NOBODY,
    *,
    keep_texts: bool = True,
) -> Rows:
    """Return the rows of one call by its content key, with texts not yet compressed."""
    call = call if keep_texts else without_texts(call)
    texts: dict[bytes, bytes] = {}
    messages = [
        [role, [_stored_part(part, texts) for part in parts]]
        for role, parts in call.prompt.messages
    ]
    now = time.time()
    row = {
        # Later calls have greater ids, so that rows are added at the end of their index.
        "id": f"{int(now * 1e6):016x}{token_hex(8)}",
        "key": key,
        "pass_index": pass_index,
        "created_at": now,
        "judge": judge,
        "api_key_id": payer.api_key_id,
        "run": payer.run,
        "model": call.reply.model.replace("\0", ""),
        "prompt": orjson.dumps(messages),
        "reply": (call.reply.text or call.reply.thoughts).encode(errors="replace"),
        "finish_reason": str(call.reply.finish_reason).replace("\0", ""),
        "verdict": orjson.dumps(call.verdict) if call.verdict else None,
        "fault": call.fault.encode(errors="replace") if call.fault else None,
        "usage": usage.model_dump_json().encode(),
        "latency_s": call.latency_s,
    }
    text_rows = [{"key": key, "hash": hash_, "content": text} for hash_, text in texts.items()]
    return {TEXTS: text_rows, CALLS: [row]}


def without_texts(call: Call) -> Call:
    """Return a call with its scores and its costs, and none of what was asked and said."""
    verdict = call.verdict
    if verdict:
        verdict = replace(verdict, explanations=[""] * len(verdict.explanations))
    return replace(
        call,
        prompt=replace(call.prompt, messages=[]),
        reply=replace(call.reply, text="", thoughts=""),
        verdict=verdict,
        fault=_NO_VERDICT if call.fault else None,
    )


def compress_texts(rows: Rows) -> None:
    """Compress the texts of rows in place; those of an earlier try are compressed already."""
    plain = [row for row in rows.get(TEXTS, []) if not is_compressed(row["content"])]
    if not plain:
        return
    for row, frame in zip(plain, compress_all([row["content"] for row in plain]), strict=True):
        row["content"] = frame


def call_record(row: sa.Row[Any], texts: dict[bytes, bytes]) -> dict[str, Any]:
    """Return one call with its exact prompt and reply, given the compressed texts by hash."""
    messages = [
        {"role": role, "content": to_content([_read_part(part, texts) for part in parts])}
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


def _stored_part(part: Part, texts: dict[bytes, bytes]) -> Any:
    """Return a part of a message as its row has it; a long one goes into `texts`."""
    if isinstance(part, ShownImage):
        return {"image": _stored_part(part.url, texts)}
    if len(part) <= _MAX_INLINE_CHARS:
        return part
    content = part.encode()
    digest = sha256(content)
    texts[digest.digest()] = content
    return {"blob": digest.hexdigest()}


def _read_part(part: Any, texts: dict[bytes, bytes]) -> Part:
    if isinstance(part, str):
        return part
    if "image" in part:
        return ShownImage(str(_read_part(part["image"], texts)), tokens=0)
    frame = texts[bytes.fromhex(part["blob"])]
    return str(decompress(frame), "utf-8")
