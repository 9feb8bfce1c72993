"""Ids that counted, and dead letters: every store keeps them with their epoch, and forgets them when it is time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from aggregation_tools import NOW_US, tick
from store_tools import DAY_S, FOREVER, STORES, Shard, open_file, rows
from streamgauge.commit import DeadLetter, DeadLetterName, SeenIds
from streamgauge.errors import StoreError
from streamgauge.identity import DEAD_LETTERS, body_hash_of, hash_of, hashes_of
from streamgauge.store import Store
from streamgauge.stores import ids
from streamgauge.stores.duckdb import DuckDBStore

DAY_US = DAY_S * 1_000_000


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = request.param(tmp_path)
    yield opened
    opened.close()


def seen_of(names: Sequence[str], scope: str = "", *, at_us: int = NOW_US, seq: int = 1) -> SeenIds:
    n = len(names)
    return SeenIds(
        scope=scope,
        hashes=b"".join(hashes_of(scope, names)),
        at_us=np.full(n, at_us, np.int64),
        seq=np.full(n, seq, np.int64),
    )


def request_of(key: str, body: bytes, answer: dict[str, int], seq: int = 1) -> SeenIds:
    return SeenIds(
        scope="",
        hashes=hash_of("", key),
        bodies=body_hash_of(body),
        answers=(json.dumps(answer),),
        at_us=np.array([NOW_US]),
        seq=np.array([seq]),
    )


def replayed(name: DeadLetterName, *, at_us: int = NOW_US) -> SeenIds:
    return seen_of([name.id], DEAD_LETTERS, at_us=at_us)


def letter(seq: int = 1, index: int = 0, **changes: Any) -> DeadLetter:
    values: dict[str, Any] = {
        "seq": seq,
        "index": index,
        "at_us": NOW_US + 7,
        "received_us": NOW_US,
        "source": "http",
        "stage": "aggregate",
        "reason": "größe",
        "traceback": 'Traceback "..."\n  line 1',
        "mapping": '{"type":"kind"}',
        "payload": b'{"type":"a"}\xff\x00',
    }
    return DeadLetter(**{**values, **changes})


def kept_hashes(
    store: Store, shard: str = "a", since_us: int = 0, most: int = 1000
) -> list[tuple[str, bytes]]:
    return [
        (run.scope, bytes(run.hashes)[16 * place : 16 * place + 16])
        for run in store.seen(shard, since_us, most)
        for place in range(len(run))
    ]


def named(scope: str, *names: str) -> list[tuple[str, bytes]]:
    return [(scope, one) for one in hashes_of(scope, names)]


def letters_of(store: Store, limit: int = 100, **wanted: Any) -> list[tuple[int, int]]:
    return [(kept.letter.seq, kept.letter.index) for kept in store.dead_letters(limit, **wanted)]


# Ids.


def test_ids_are_kept_with_their_epoch_and_given_oldest_first(store: Store) -> None:
    shard = Shard(store)
    frames = shard.commit([tick()], seen=[seen_of(["x", "y"]), seen_of(["x"], "key")])
    shard.commit([tick()], seen=[seen_of(["z"], seq=2, at_us=NOW_US + 5)])
    store.commit(frames)
    found = kept_hashes(store)
    assert [one for one in found if not one[0]] == named("", "x", "y", "z")
    assert [one for one in found if one[0]] == named("key", "x")
    runs = [run for run in store.seen("a", 0, 1000) if run.scope == ""]
    assert [int(seq) for run in runs for seq in run.seq] == [1, 1, 2]
    assert [int(at) for run in runs for at in run.at_us] == [NOW_US, NOW_US, NOW_US + 5]
    assert all(not run.bodies and not run.answers for run in runs)


def test_the_newest_ids_are_given_of_one_shard_and_not_those_that_are_too_old(store: Store) -> None:
    shard = Shard(store)
    for place, name in enumerate("abc"):
        shard.commit([], seen=[seen_of([name], at_us=NOW_US + place, seq=place + 1)])
    Shard(store, "b").commit([], seen=[seen_of(["other"])])
    assert kept_hashes(store, most=2) == named("", "b", "c")
    assert kept_hashes(store, since_us=NOW_US + 2) == named("", "c")
    assert kept_hashes(store, "b") == named("", "other")
    assert kept_hashes(store, "nobody") == []


def test_a_request_is_kept_with_its_body_and_its_answer(store: Store) -> None:
    Shard(store).commit([], seen=[seen_of(["key"]), request_of("key", b"body", {"accepted": 3})])
    runs = list(store.seen("a", 0, 10))
    assert len(runs) == 2
    (request,) = [run for run in runs if run.bodies]
    assert bytes(request.bodies) == body_hash_of(b"body")
    assert [json.loads(answer) for answer in request.answers] == [{"accepted": 3}]


def test_many_ids_come_back_each_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "CHUNK_ROWS", 7)
    names = [f"id {number}" for number in range(100)]
    Shard(store).commit([], seen=[seen_of(names)])
    assert kept_hashes(store) == named("", *names)


def test_an_epoch_that_fails_leaves_no_ids(store: Store) -> None:
    shard = Shard(store)
    with pytest.raises(StoreError):
        shard.commit([tick()] * 10, seen=[seen_of(["x"])], dead_letters=[letter()], at_us=2**63 - 1)
    assert kept_hashes(store) == []
    assert store.dead_letters(10) == []


def test_ids_older_than_the_horizon_are_forgotten_in_small_steps(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ids, "EXPIRE_SEEN", ids.EXPIRE_SEEN.replace(f"LIMIT {ids.STEP_ROWS}", "LIMIT 3"))
    shard = Shard(store)
    shard.commit([], seen=[seen_of([str(number) for number in range(10)])])
    shard.commit([], seen=[seen_of(["young"], at_us=NOW_US + DAY_US // 2, seq=2)])
    assert store.maintain(NOW_US + DAY_US, FOREVER) == 0
    assert store.maintain(NOW_US + DAY_US + 1, FOREVER) == 10
    assert kept_hashes(store) == named("", "young")


def test_more_ids_than_are_wanted_are_forgotten_the_oldest_first_and_by_shard(store: Store) -> None:
    shard = Shard(store)
    for place in range(6):
        shard.commit([], seen=[seen_of([f"{place} a", f"{place} b"], seq=place + 1)])
    Shard(store, "b").commit([], seen=[seen_of(["other"])])
    assert store.forget(NOW_US, replace(FOREVER, seen_ids=4)) == 8
    assert kept_hashes(store) == named("", "4 a", "4 b", "5 a", "5 b")
    assert kept_hashes(store, "b") == named("", "other")
    assert store.maintain(NOW_US, replace(FOREVER, seen_ids=4)) == 0


def test_the_id_of_a_replayed_letter_is_given_first_and_kept_while_the_letter_is(store: Store) -> None:
    shard = Shard(store)
    name = DeadLetterName("a", 1, 0)
    shard.commit([], dead_letters=[letter()])
    shard.commit([], seen=[replayed(name), seen_of(["x"])])
    years = replace(FOREVER, dead_letters_s=10_000 * DAY_S)
    store.maintain(NOW_US + 400 * DAY_US, years)
    assert kept_hashes(store, since_us=NOW_US * 2, most=0) == named(DEAD_LETTERS, name.id)
    store.maintain(NOW_US + 400 * DAY_US, replace(years, dead_letters_s=DAY_S))
    assert kept_hashes(store) == []
    assert store.dead_letter(name) is None


# Dead letters.


def test_a_letter_comes_back_as_it_was_and_is_open(store: Store) -> None:
    shard = Shard(store, "a b")
    frames = shard.commit([tick()], dead_letters=[letter(), letter(index=3, payload=b"", traceback="")])
    store.commit(frames)
    assert store.open_dead_letters() == 2
    kept = store.dead_letter(DeadLetterName("a b", 1, 0))
    assert kept is not None
    assert (kept.shard, kept.state, kept.letter) == ("a b", "open", letter())
    assert kept.name == DeadLetterName("a b", 1, 0)
    assert kept.name.id == "dlq:a b:1:0"
    assert [one.letter for one in store.dead_letters(9)] == [
        letter(index=3, payload=b"", traceback=""),
        letter(),
    ]
    assert store.dead_letter(DeadLetterName("a", 1, 0)) is None


def test_letters_are_listed_newest_first_and_page_by_page(store: Store) -> None:
    shard = Shard(store)
    shard.commit([], dead_letters=[letter(1, index) for index in range(3)])
    shard.commit([], dead_letters=[letter(2, 5)])
    Shard(store, "b").commit([], dead_letters=[letter(1, 1)])
    found, before = list[DeadLetterName](), None
    while page := store.dead_letters(2, before=before):
        assert len(page) <= 2
        found += [kept.name for kept in page]
        before = found[-1]
    assert found == [
        DeadLetterName(shard, seq, index)
        for shard, seq, index in [("a", 2, 5), ("a", 1, 2), ("b", 1, 1), ("a", 1, 1), ("a", 1, 0)]
    ]


def test_a_letter_is_closed_when_the_event_with_its_id_is_committed(store: Store) -> None:
    shard = Shard(store)
    shard.commit([], dead_letters=[letter(), letter(index=1)])
    shard.commit([], seen=[seen_of(["dlq:a:1:1"]), replayed(DeadLetterName("a", 1, 0))])
    assert letters_of(store) == [(1, 1)]
    assert letters_of(store, only_open=False) == [(1, 1), (1, 0)]
    kept = store.dead_letter(DeadLetterName("a", 1, 0))
    assert kept is not None
    assert kept.state == "replayed"
    assert store.open_dead_letters() == 1


def test_a_letter_is_discarded_once_and_only_by_its_own_name(store: Store) -> None:
    shard = Shard(store)
    shard.commit([], dead_letters=[letter(), letter(index=1), letter(index=2)])
    shard.commit([], seen=[replayed(DeadLetterName("a", 1, 2))])
    names = [DeadLetterName("a", 1, 0), DeadLetterName("b", 1, 1), DeadLetterName("a", 1, 2)]
    assert store.discard_dead_letters(names, NOW_US + 9) == 1
    assert store.discard_dead_letters(names, NOW_US + 9) == 0
    assert store.discard_dead_letters([], NOW_US + 9) == 0
    assert letters_of(store) == [(1, 1)]
    assert {kept.letter.index: kept.state for kept in store.dead_letters(9, only_open=False)} == {
        0: "discarded",
        1: "open",
        2: "replayed",
    }


def test_letters_leave_by_age_by_number_and_by_size_the_oldest_first(store: Store) -> None:
    shard = Shard(store)
    for seq in range(1, 7):
        shard.commit([], dead_letters=[letter(seq, at_us=NOW_US + seq, payload=b"x" * 100)])
    store.discard_dead_letters([DeadLetterName("a", 1, 0)], NOW_US)
    aged = replace(FOREVER, dead_letters_s=DAY_S)
    assert store.maintain(NOW_US + DAY_US + 2, aged) == 2  # the first letter, and that it was discarded
    assert letters_of(store, only_open=False) == [(seq, 0) for seq in (6, 5, 4, 3, 2)]
    store.maintain(NOW_US, replace(FOREVER, dead_letters=4))
    assert letters_of(store) == [(seq, 0) for seq in (6, 5, 4, 3)]
    store.maintain(NOW_US, replace(FOREVER, dead_letter_bytes=250))
    assert letters_of(store) == [(6, 0), (5, 0)]
    assert store.maintain(NOW_US, FOREVER) == 0


# Files from before.


def test_a_file_from_before_there_were_these_tables_goes_on(tmp_path: Path) -> None:
    store = open_file(tmp_path)
    Shard(store).commit([tick(value=1)])
    store.checkpoint()
    store.close()
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        for table in ("seen", "dead_letters", "discarded"):
            connection.execute(f"DROP TABLE {table}")
    store = open_file(tmp_path)
    assert kept_hashes(store) == []
    Shard(store, epoch=1, seq=1).commit([tick()], seen=[seen_of(["x"])], dead_letters=[letter(2)])
    store.close()
    again = open_file(tmp_path)
    assert kept_hashes(again) == named("", "x")
    assert (letters_of(again), again.open_dead_letters()) == ([(2, 0)], 1)
    assert rows(again, "SELECT count(*) FROM events") == [(2,)]
    again.close()


def test_opening_a_file_that_has_the_tables_writes_nothing(tmp_path: Path) -> None:
    first = DuckDBStore.open(tmp_path / "store.duckdb")
    first.checkpoint()
    first.close()
    before = (tmp_path / "store.duckdb").read_bytes()
    DuckDBStore.open(tmp_path / "store.duckdb").close()
    assert (tmp_path / "store.duckdb").read_bytes() == before
    log = tmp_path / "store.duckdb.wal"
    assert not log.exists() or not log.stat().st_size
