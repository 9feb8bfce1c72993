"""Compressed bodies, inflated step by step, so that a small body that inflates to gigabytes is refused early."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import zstandard

from streamgauge.errors import DecodeError, TooLarge, UnsupportedEncoding

STEP: Final = 1024 * 1024
IN_LOOP_BYTES: Final = 16 * 1024  # of compressed body; larger ones are inflated in a thread
RATIO_FROM: Final = 1024 * 1024  # small bodies may be repetitive
ZSTD_WINDOW: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DecodedLimits:
    """What a body may inflate to: bytes in all, and bytes for each one on the wire."""

    decoded_bytes: int = 128 * 2**20
    ratio: int = 100



async def inflate(body: bytes, encoding: str, limits: DecodedLimits) -> bytes:
    """Undo a `Content-Encoding`; raises UnsupportedEncoding, TooLarge, or DecodeError where it is damaged."""
    if encoding in {"", "identity"}:
        return body
    if encoding not in _INFLATERS:
        raise UnsupportedEncoding(
            f"Content-Encoding: expected gzip or zstd, one of them once, got {encoding[:40]!r}", code="unsupported_encoding"
        )
    call = _INFLATERS[encoding]
    if len(body) <= IN_LOOP_BYTES and limits.ratio <= 100:
        return call(body, limits)
    return await asyncio.get_running_loop().run_in_executor(None, call, body, limits)


def _check(size: int, wire: int, limits: DecodedLimits) -> None:
    if size > limits.decoded_bytes:
        raise TooLarge(f"body: inflates to more than {limits.decoded_bytes} bytes")
    if size > max(RATIO_FROM, wire * limits.ratio):
        raise TooLarge(f"body: inflates to more than {limits.ratio} times its size")


def _gunzip(body: bytes, limits: DecodedLimits) -> bytes:
    parts, size, rest = [], 0, body
    try:
        while rest:
            inflater = zlib.decompressobj(wbits=31)
            while rest and not inflater.eof:
                parts.append(inflater.decompress(rest, STEP))
                size += len(parts[-1])
                _check(size, len(body), limits)
                rest = inflater.unconsumed_tail
            if not inflater.eof:
                raise DecodeError("body: the gzip data ends too early", code="malformed_encoding")
            rest = inflater.unused_data
    except zlib.error as exc:
        raise DecodeError(f"body: not gzip: {exc}", code="malformed_encoding") from exc
    return b"".join(parts)


def _unzstd(body: bytes, limits: DecodedLimits) -> bytes:
    parts, size = [], 0
    inflater = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    try:
        with inflater.stream_reader(body, read_across_frames=True) as reader:
            while part := reader.read(STEP):
                parts.append(part)
                size += len(part)
                _check(size, len(body), limits)
    except zstandard.ZstdError as exc:
        raise DecodeError(f"body: not zstd: {exc}", code="malformed_encoding") from exc
    return b"".join(parts)


_INFLATERS: Final[Mapping[str, Callable[[bytes, DecodedLimits], bytes]]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "zstd": _unzstd,
}
