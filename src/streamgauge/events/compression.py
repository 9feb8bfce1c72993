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
FEED: Final = 64 * 1024  # compressed bytes at a time: what zlib leaves over is copied
MOST_MEMBERS: Final = 4096  # a member may be 20 bytes that inflate to nothing
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
            f"Content-Encoding: expected gzip or zstd, one of them once, got {encoding[:40]!r}",
            code="unsupported_encoding",
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
    parts: list[bytes] = []
    size = at = 0
    inflater, members = zlib.decompressobj(wbits=31), 1
    try:
        while at < len(body) or not inflater.eof:
            if at == len(body):
                raise DecodeError("body: the gzip data ends too early", code="malformed_encoding")
            if inflater.eof:
                inflater, members = zlib.decompressobj(wbits=31), members + 1
            piece = body[at : at + FEED]
            parts.append(inflater.decompress(piece, STEP))
            at += len(piece) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
            size += len(parts[-1])
            _check(size, len(body), limits)
            if members > MOST_MEMBERS:
                raise TooLarge(f"body: more than {MOST_MEMBERS} gzip members; compress it in one")
    except zlib.error as exc:
        raise DecodeError(f"body: not gzip, or damaged: {exc}", code="malformed_encoding") from exc
    return b"".join(parts)


def _unzstd(body: bytes, limits: DecodedLimits) -> bytes:
    parts, size = [], 0
    inflater = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    _check_window(body)
    try:
        with inflater.stream_reader(body + _ZSTD_END, read_across_frames=True) as reader:
            while part := reader.read(STEP):
                parts.append(part)
                size += len(part)
                _check(size - len(_END), len(body), limits)
    except zstandard.ZstdError as exc:
        raise DecodeError(f"body: not zstd, or damaged: {exc}", code="malformed_encoding") from exc
    text = b"".join(parts)
    if not text.endswith(_END):
        raise DecodeError("body: the zstd data ends too early", code="malformed_encoding")
    return text[: -len(_END)]


def _check_window(body: bytes) -> None:
    try:
        window = zstandard.get_frame_parameters(body).window_size
    except zstandard.ZstdError as exc:
        raise DecodeError(f"body: not zstd: {exc}", code="malformed_encoding") from exc
    if window > ZSTD_WINDOW:
        raise TooLarge(
            f"body: zstd with a window of {window} bytes; at most {ZSTD_WINDOW} are allowed, as up to level 19"
        )


# The reader does not say whether the last frame was whole. So a frame of ours follows the body: its text comes out at
# the end only when it was read as a frame, since its own bytes end with a checksum.
_END: Final = b"end of body"
_ZSTD_END: Final = zstandard.ZstdCompressor(write_checksum=True).compress(_END)

_INFLATERS: Final[Mapping[str, Callable[[bytes, DecodedLimits], bytes]]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "zstd": _unzstd,
}
