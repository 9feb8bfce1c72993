"""Compressed bodies: whole ones come out, damaged and exploding ones are refused early."""

import gzip
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import DecodeError, TooLarge, UnsupportedEncoding
from streamgauge.events.compression import DecodedLimits, inflate

LIMITS = DecodedLimits()
MIB = 2**20
TEXT = b"".join(b'{"type":"a","n":%d}\n' % number for number in range(300))


def zstd(data: bytes, *, checksum: bool = False, streamed: bool = False) -> bytes:
    compressor = zstandard.ZstdCompressor(write_checksum=checksum)
    if not streamed:
        return compressor.compress(data)
    stream = compressor.compressobj()
    return stream.compress(data) + stream.flush()


def raw_zstd(data: bytes) -> bytes:
    """A frame of stored blocks: nothing in them tells where they end but their lengths."""
    header = b"\x28\xb5\x2f\xfd\x00\x58"
    block = ((len(data) << 3) | 1).to_bytes(3, "little")
    return header + block + data


def zstd_bomb(mib: int) -> bytes:
    """Run-length blocks of 128 KiB in four bytes each."""
    header = b"\x28\xb5\x2f\xfd\x00\x58"
    run = ((128 * 1024) << 3) | 2
    blocks = [run.to_bytes(3, "little") + b"x"] * (mib * 8 - 1) + [(run | 1).to_bytes(3, "little") + b"x"]
    return header + b"".join(blocks)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
async def test_members_and_frames_one_after_the_other_are_one_body(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    assert await inflate(b"".join(map(gzip.compress, parts)), "gzip", LIMITS) == whole
    for checksum in (False, True):
        for streamed in (False, True):
            frames = [zstd(part, checksum=checksum, streamed=streamed) for part in parts]
            assert await inflate(b"".join(frames), "zstd", LIMITS) == whole


async def test_a_body_of_many_megabytes_comes_out_whole() -> None:
    data = np.random.default_rng(1).bytes(3 * MIB) + TEXT * 100
    assert await inflate(gzip.compress(data, 1), "gzip", LIMITS) == data
    assert await inflate(gzip.compress(data[:MIB], 1) + gzip.compress(data[MIB:], 1), "gzip", LIMITS) == data
    assert await inflate(zstd(data), "zstd", LIMITS) == data
    assert await inflate(zstd(data[:MIB]) + zstd(data[MIB:], streamed=True), "zstd", LIMITS) == data


@pytest.mark.parametrize(
    ("encoding", "whole"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT) + gzip.compress(b"more")),
        ("zstd", zstd(TEXT)),
        ("zstd", zstd(TEXT, checksum=True)),
        ("zstd", zstd(TEXT, streamed=True)),
        ("zstd", zstd(TEXT, streamed=True) + zstd(b"more")),
        ("zstd", raw_zstd(TEXT[:300])),
    ],
)
async def test_a_body_that_was_cut_off_anywhere_is_refused(encoding: str, whole: bytes) -> None:
    full = await inflate(whole, encoding, LIMITS)
    first = len(gzip.compress(TEXT)) if encoding == "gzip" else len(zstd(TEXT, streamed=True))
    for length in range(len(whole)):
        if length == first and full.endswith(b"more"):
            continue  # the end of the first member is the end of a whole body
        with pytest.raises(DecodeError) as caught:
            await inflate(whole[:length], encoding, LIMITS)
        assert caught.value.code == "malformed_encoding"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", TEXT),
        ("gzip", zlib.compress(TEXT)),
        ("gzip", gzip.compress(TEXT) + b"garbage"),
        ("gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8),
        ("zstd", TEXT),
        ("zstd", gzip.compress(TEXT)),
        ("zstd", zstd(TEXT) + b"garbage"),
        ("zstd", zstd(TEXT, checksum=True)[:-4] + b"\0\0\0\0"),
        ("gzip", b""),
        ("zstd", b""),
    ],
)
async def test_what_is_not_so_encoded_or_damaged_is_refused(encoding: str, body: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        await inflate(body, encoding, LIMITS)
    assert caught.value.code == "malformed_encoding"


BOMBS = [
    pytest.param("gzip", gzip.compress(bytes(64 * MIB)), id="gzip of 64 KB for 64 MiB"),
    pytest.param("zstd", zstd_bomb(512), id="zstd of 16 KB for 512 MiB"),
    pytest.param("zstd", zstd(TEXT * 300) + zstd_bomb(512), id="zstd, the second frame"),
    pytest.param("gzip", gzip.compress(TEXT) + gzip.compress(bytes(64 * MIB)), id="gzip, the second member"),
]


@pytest.mark.parametrize(("encoding", "bomb"), BOMBS)
async def test_a_small_body_that_explodes_is_refused_at_once_and_in_little_memory(
    encoding: str, bomb: bytes
) -> None:
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(TooLarge, match="100 times its size"):
            await inflate(bomb, encoding, LIMITS)
        spent, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert spent < 1.0
    assert peak < 100 * len(bomb) + 8 * MIB


async def test_no_body_inflates_to_more_than_the_limit() -> None:
    limits = DecodedLimits(decoded_bytes=MIB, ratio=10_000)
    for encoding, compress in (("gzip", gzip.compress), ("zstd", zstd)):
        assert len(await inflate(compress(bytes(MIB)), encoding, limits)) == MIB
        with pytest.raises(TooLarge, match="more than 1048576 bytes"):
            await inflate(compress(bytes(MIB + 1)), encoding, limits)


async def test_countless_empty_gzip_members_are_refused_before_they_cost_anything() -> None:
    started = time.process_time()
    with pytest.raises(TooLarge, match="gzip members"):
        await inflate(gzip.compress(b"") * 200_000, "gzip", LIMITS)
    assert time.process_time() - started < 2.0


async def test_a_zstd_frame_that_needs_a_huge_window_is_refused() -> None:
    window_of_2_gib = b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00"
    with pytest.raises(TooLarge, match="window of 2147483648 bytes"):
        await inflate(window_of_2_gib, "zstd", LIMITS)
    claims_everything = b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x7f" + b"\x01\x00\x00"
    with pytest.raises(TooLarge):
        await inflate(claims_everything, "zstd", LIMITS)


@pytest.mark.parametrize(
    "encoding",
    ["br", "deflate", "compress", "x", "gzip, gzip", "gzip,zstd", "identity;q=0", "gzip," * 10 + "gzip"],
)
async def test_other_encodings_and_more_than_one_layer_are_not_understood(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding, match="expected gzip or zstd, one of them once") as caught:
        await inflate(gzip.compress(gzip.compress(TEXT)), encoding, LIMITS)
    assert caught.value.code == "unsupported_encoding"


async def test_an_inner_layer_stays_as_it_is() -> None:
    inner = gzip.compress(TEXT)
    assert await inflate(gzip.compress(inner), "gzip", LIMITS) == inner


@pytest.mark.parametrize("encoding", ["", "identity"])
async def test_a_body_without_encoding_passes_through(encoding: str) -> None:
    assert await inflate(TEXT, encoding, LIMITS) is TEXT
