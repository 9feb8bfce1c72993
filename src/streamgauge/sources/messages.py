"""The payload of a message as newline-delimited JSON: one object, an array, one object a line, or a bare number."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from streamgauge.errors import DecodeError
from streamgauge.event import FieldMapping
from streamgauge.events.containers import WHITESPACE, lines_of_json
from streamgauge.events.enrich import enriched

PIECE_LINES: Final = 1000
_NUMBER = msgspec.json.Decoder(int | float)
_RAW = msgspec.json.Decoder(msgspec.Raw)


async def lines_of(payload: bytes, fields: Mapping[str, str], mapping: FieldMapping) -> list[bytes]:
    """Give a message's events, one a line, each with the fields that its topic adds.

    A bare number is an event with that value, where the topic tells the type. Raises DecodeError where the payload
    holds no events at all; whether a line is a good event is for the decoder to say.
    """
    text = payload.strip(WHITESPACE)
    start = text[:1]
    if start == b"{":
        lines = _objects(text)
    elif start == b"[":
        lines = await _elements(text)
    else:
        lines = [_number(text, fields, mapping)]
    return await _with_fields(lines, fields) if fields else lines


async def _with_fields(lines: list[bytes], fields: Mapping[str, str]) -> list[bytes]:
    made: list[bytes] = []
    for start in range(0, len(lines), PIECE_LINES):
        if start:
            await asyncio.sleep(0)  # at some 2 us a line
        made += [enriched(line, fields) for line in lines[start : start + PIECE_LINES]]
    return made


async def _elements(text: bytes) -> list[bytes]:
    try:
        return [line for line in (await lines_of_json(text)).split(b"\n") if line]
    except DecodeError as exc:
        raise DecodeError(f"payload: {exc.problem.removeprefix('body: ')}", code=exc.code) from exc


def _objects(text: bytes) -> list[bytes]:
    """Give one object on one line, however it was written, or the objects that stand on a line each."""
    if b"\n" not in text:
        return [text]
    try:
        _RAW.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [line for line in (line.strip(WHITESPACE) for line in text.split(b"\n")) if line]
    return [msgspec.json.format(text, indent=-1)]


def _number(text: bytes, fields: Mapping[str, str], mapping: FieldMapping) -> bytes:
    if not text:
        raise DecodeError("payload: empty; expected at least one event", code="empty_body")
    try:
        _NUMBER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise DecodeError(f"payload: expected JSON objects, got {_shown(text)}") from None
    if mapping.type not in fields:
        problem = f"payload: expected JSON objects, got the bare number {_shown(text)}"
        raise DecodeError(f'{problem}; type_from = "topic" makes an event of it')
    return b'{"%s":%s}' % (mapping.value.encode(), text)


def _shown(text: bytes) -> str:
    shown = text[:40].decode(errors="replace")
    return f"{shown!r}..." if len(text) > 40 else repr(shown)
