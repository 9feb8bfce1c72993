"""Names of things that count once, as 128-bit hashes.

Two names are the same where their scope and their text are; 16 bytes stand for them in memory, in the journal and in
the store. BLAKE2b (RFC 7693), the scope as its personalisation, so that no id can be made to look like another's.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

HASH_BYTES: Final = 16
DEAD_LETTERS: Final = "dead_letters"  # the scope of replayed dead letters, whose ids are never forgotten


def hash_of(scope: str, name: str) -> bytes:
    """Give the 16 bytes that stand for a name within its scope."""
    return hashes_of(scope, [name])[0]


def hashes_of(scope: str, names: Iterable[str]) -> list[bytes]:
    """Give the 16 bytes that stand for each of several names of one scope."""
    person = blake2b(scope.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()
    return [
        blake2b(name.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES, person=person).digest()
        for name in names
    ]


def body_hash_of(*parts: bytes) -> bytes:
    """Give the 16 bytes that stand for a request's body, in parts."""
    found = blake2b(digest_size=HASH_BYTES)
    for part in parts:
        found.update(part)
    return found.digest()
