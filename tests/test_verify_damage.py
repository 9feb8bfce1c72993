"""Whatever is changed in a store behind the program's back, one value at a time, `verify` finds it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from soak import trials
from streamgauge.verify import Report
from verify_tools import DAY_S, Damage, Folder, any_row, compacted, filled

ROWS: Final = trials(1, 8)  # that each kind of change is tried on


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder that two lives of a server have filled; not to be changed."""
    return asyncio.run(filled(tmp_path_factory.mktemp("verified") / "data", 1, 2))


@pytest.fixture(scope="module")
def damage(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damage]:
    made = folder.damage(tmp_path_factory.mktemp("damaged"))
    yield made
    made.connection.close()


@pytest.fixture(scope="module")
def of_minutes(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damage]:
    """The same, after its rollups have become those of minutes."""
    minutes = compacted(folder, tmp_path_factory.mktemp("minutes"), DAY_S * 3)
    made = minutes.damage(tmp_path_factory.mktemp("damaged"))
    yield made
    made.connection.close()


def places(report: Report) -> set[tuple[str, str]]:
    return {(one.kind, one.what) for one in report.differences}


def test_the_store_that_is_damaged_here_is_sound(damage: Damage, of_minutes: Damage) -> None:
    unchanged = "UPDATE about SET format = format"
    assert damage.verify(unchanged).ok
    assert of_minutes.verify(unchanged).ok


RAW: Final = {
    "seq": "seq = seq + 1",
    "seq of another epoch": "seq = (SELECT max(last_seq) FROM positions WHERE last_seq < raw_events.seq)",
    "seq that never was": "seq = seq + 1000000",
    "index": "index = index + 1",
    "shard": "shard = '1'",
    "second": "time = time + INTERVAL 1 SECOND",
    "microsecond": "time = time + INTERVAL 1 MICROSECOND",
    "arrival": "received_at = received_at + INTERVAL 1 SECOND",
    "processing": "processed_at = processed_at + INTERVAL 1 SECOND",
    "type": "type = type || 'x'",
    "user": "user_id = coalesce(user_id, '') || 'x'",
    "no user": "user_id = CASE WHEN user_id IS NULL THEN 'x' END",
    "event id": "event_id = 'x'",
    "value": "value = coalesce(value, 0) + 1",
    "no value": "value = CASE WHEN value IS NULL THEN 0 END",
    "event": 'event = replace(event, \'"type":"\', \'"type":"x\')',
    "cut event": "event = left(event, length(event) - 1)",
    "other event": "event = '[]'",
}


@pytest.mark.parametrize("change", RAW.values(), ids=RAW.keys())
def test_a_changed_raw_event_is_found(damage: Damage, change: str) -> None:
    not_of_the_first_epoch = "seq > (SELECT min(last_seq) FROM positions)"
    for seed in range(ROWS):
        row = any_row("raw_events", seed, not_of_the_first_epoch)
        assert not damage.verify(f"UPDATE raw_events SET {change} WHERE rowid = {row}").ok, seed


def test_a_change_of_a_field_that_nothing_refers_to_is_found_while_the_journal_has_the_event(
    damage: Damage,
) -> None:
    last = "(SELECT max(seq) FROM raw_events)"
    change = f"UPDATE raw_events SET event = replace(event, '{{', '{{\"more\":1,') WHERE seq = {last}"
    found = damage.verify(change)
    assert places(found) == {("raw", "event")}
    assert found.differences[0].found.startswith('{"more":1,')
    assert damage.verify(change, with_journal=False).ok


@pytest.mark.parametrize("with_journal", [True, False], ids=["with its journal", "without its journal"])
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM raw_events WHERE rowid = {row}",
        "INSERT INTO raw_events FROM raw_events WHERE rowid = {row}",
        "DELETE FROM raw_events WHERE seq = (SELECT seq FROM raw_events WHERE rowid = {row})",
    ],
    ids=["deleted", "doubled", "a whole append deleted"],
)
def test_a_raw_event_that_is_not_there_once_is_found(
    damage: Damage, change: str, *, with_journal: bool
) -> None:
    report = damage.verify(change.format(row=any_row("raw_events")), with_journal=with_journal)
    assert {"ledger", "rollup"} <= {one.kind for one in report.differences}


CELL: Final = "histogram[1:4] || '\\x02\\x01\\x00\\x00'::BLOB || histogram[9:]"
ROLLUP: Final = {
    "count": "count = count + 1",
    "values": "n_values = n_values + 1",
    "sum": "sum = coalesce(sum, 0) + 1",
    "sum by a bit": "sum = coalesce(sum, 0) * 1.00000000000001 + 1e-9",
    "low sum": "sum_low = coalesce(sum_low, 0) + 1",
    "no sum": "sum = CASE WHEN sum IS NULL THEN 0 END",
    "min": "min = coalesce(min, 0) - 1",
    "no min": "min = CASE WHEN min IS NULL THEN 0 END",
    "max": "max = coalesce(max, 0) + 1",
    "last": "last = coalesce(last, 0) + 1",
    "last time": "last_time = coalesce(last_time, 0) + 1",
    "last order": "last_order = coalesce(last_order, 0) + 1",
    "histogram": f"histogram = CASE WHEN octet_length(histogram) >= 8 THEN {CELL} ELSE '\\x01\\x00\\x00\\x00\\x01\\x00\\x00\\x00'::BLOB END",
    "no histogram": "histogram = CASE WHEN octet_length(histogram) > 0 THEN ''::BLOB ELSE '\\x01'::BLOB END",
    "half a cell": "histogram = histogram || '\\x01'::BLOB",
    "metric": "metric = 'other'",
    "definition": "definition = '00000000'",
    "bucket": "bucket = bucket + 1",
    "resolution": "resolution = 60",
    "resolution that fits": "resolution = 60, bucket = bucket - bucket % 60",
    "no resolution": "resolution = 0",
    "day": "received_day = received_day + 1",
    "day long ago": "received_day = received_day - 1",
    "epoch": "epoch = epoch + 1",
    "no epoch": "epoch = 0",
    "series": "series = CASE series WHEN '{}' THEN '{\"type\":\"a\"}' ELSE '{}' END",
    "unreadable series": "series = 'x'",
    "beyond the limit": "is_other = NOT is_other",
    "shard": "shard = '1'",
}
# of that day nothing is known; and totals of the wider window agree, whichever of its rows has its name
NOT_FOUND_COMPACTED: Final = {"day long ago", "resolution that fits"}
SINGLE: Final = ("events", "latency", "revenue")


@pytest.mark.parametrize("metric", SINGLE)
@pytest.mark.parametrize("change", ROLLUP.values(), ids=ROLLUP.keys())
def test_a_changed_rollup_row_is_found(damage: Damage, change: str, metric: str) -> None:
    for seed in range(ROWS):
        row = any_row("rollup_rows", seed, f"metric = '{metric}'")
        assert not damage.verify(f"UPDATE rollup_rows SET {change} WHERE rowid = {row}").ok, seed


@pytest.mark.parametrize("metric", SINGLE)
@pytest.mark.parametrize("name", sorted(ROLLUP.keys() - NOT_FOUND_COMPACTED))
def test_a_changed_compacted_row_is_found(of_minutes: Damage, name: str, metric: str) -> None:
    change = {
        "resolution": "resolution = 120, bucket = bucket + 60",
        "no epoch": "epoch = 1",
    }.get(name, ROLLUP[name])
    for seed in range(ROWS):
        row = any_row("rollup_rows", seed, f"metric = '{metric}'")
        assert not of_minutes.verify(f"UPDATE rollup_rows SET {change} WHERE rowid = {row}").ok, seed


@pytest.mark.parametrize("metric", [*SINGLE, "visitors"])
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM rollup_rows WHERE rowid = {row}",
        "INSERT INTO rollup_rows FROM rollup_rows WHERE rowid = {row}",
        "UPDATE rollup_rows SET count = count + 1 WHERE rowid = {row}",
        "UPDATE rollup_rows SET is_other = true WHERE rowid = {row}",
    ],
    ids=["deleted", "doubled", "counted once more", "moved beyond the limit"],
)
def test_a_rollup_row_that_is_not_there_once_is_found(damage: Damage, change: str, metric: str) -> None:
    row = any_row("rollup_rows", where=f"metric = '{metric}' AND NOT is_other")
    report = damage.verify(change.format(row=row))
    assert {one.metric for one in report.differences} == {metric}


@pytest.mark.parametrize(
    "change", ["count = count + 1", "sum = sum + 1", "n_values = n_values + 1", "max = 1e9"]
)
def test_a_changed_row_of_what_is_beyond_the_limit_of_series_is_found(damage: Damage, change: str) -> None:
    row = any_row("rollup_rows", where="is_other AND n_values > 0")
    report = damage.verify(f"UPDATE rollup_rows SET {change} WHERE rowid = {row}")
    assert {one.metric for one in report.differences} == {"visitors"}
    assert all(one.what.endswith("of all series") for one in report.differences)


LAST: Final = "(SELECT max(epoch) FROM positions)"
POSITIONS: Final = {
    "last epoch": f"UPDATE positions SET epoch = epoch + 1 WHERE epoch = {LAST}",
    "first epoch": "UPDATE positions SET epoch = 0 WHERE epoch = 1",
    "previous append": f"UPDATE positions SET previous_seq = previous_seq + 1 WHERE epoch = {LAST}",
    "first previous append": "UPDATE positions SET previous_seq = 1 WHERE epoch = 1",
    "last append, more": f"UPDATE positions SET last_seq = last_seq + 1 WHERE epoch = {LAST}",
    "last append, less": f"UPDATE positions SET last_seq = last_seq - 1 WHERE epoch = {LAST}",
    "a middle one's append": "UPDATE positions SET last_seq = last_seq - 1 WHERE epoch = 3",
    "life": "UPDATE positions SET incarnation = 'x' WHERE epoch = 3",
    "an earlier life": f"UPDATE positions SET incarnation = (SELECT incarnation FROM positions WHERE epoch = 1) WHERE epoch = {LAST}",
    "day": f"UPDATE positions SET committed_at = committed_at + INTERVAL 1 DAY WHERE epoch = {LAST}",
    "shard": f"UPDATE positions SET shard = '1' WHERE epoch = {LAST}",
    "deleted, the first": "DELETE FROM positions WHERE epoch = 1",
    "deleted, a middle one": "DELETE FROM positions WHERE epoch = 3",
    "deleted, the last": f"DELETE FROM positions WHERE epoch = {LAST}",
    "doubled": "INSERT INTO positions FROM positions WHERE epoch = 2",
}


@pytest.mark.parametrize("change", POSITIONS.values(), ids=POSITIONS.keys())
def test_a_changed_position_is_found(damage: Damage, change: str) -> None:
    assert not damage.verify(change).ok


@pytest.mark.parametrize("name", ["stored", "filtered", "dead_lettered"])
@pytest.mark.parametrize("epoch", ["1", "3", LAST], ids=["first", "middle", "last"])
@pytest.mark.parametrize("more", [1, -1])
def test_a_changed_ledger_is_found(damage: Damage, name: str, epoch: str, more: int) -> None:
    [[text]] = damage.connection.execute(f"SELECT ledger FROM positions WHERE epoch = {epoch}").fetchall()
    ledger = json.loads(text)
    ledger["http"][name] += more
    report = damage.verify(f"UPDATE positions SET ledger = ? WHERE epoch = {epoch}", json.dumps(ledger))
    assert {"ledger", "dead_letter"} & {one.kind for one in report.differences}


def test_a_ledger_that_cannot_be_read_is_found(damage: Damage) -> None:
    assert ("ledger", "ledger") in places(damage.verify("UPDATE positions SET ledger = 'x' WHERE epoch = 2"))


def test_a_dead_letter_that_the_ledger_does_not_know_is_found(damage: Damage) -> None:
    letter = "SELECT shard, seq, index, ''::BLOB, time, time, '', '', '', '', '', ''::BLOB FROM raw_events"
    report = damage.verify(f"INSERT INTO dead_letters {letter} WHERE rowid = {any_row('raw_events')}")
    assert places(report) == {("dead_letter", "dead_lettered"), ("dead_letter", "row")}


def test_a_difference_says_where_it_is_and_what_was_expected(damage: Damage) -> None:
    row = any_row("rollup_rows", where="metric = 'events'")
    [[series, bucket, epoch, count]] = damage.connection.execute(
        f"SELECT series, bucket, epoch, count FROM rollup_rows WHERE rowid = {row}"
    ).fetchall()
    [found] = damage.verify(f"UPDATE rollup_rows SET count = count + 40 WHERE rowid = {row}").differences
    assert (found.kind, found.what, found.metric) == ("rollup", "count", "events")
    assert (found.series, found.bucket, found.resolution) == (series, bucket, 1)
    assert (found.place, found.expected, found.found) == (f"epoch {epoch}", str(count), str(count + 40))


def test_thousands_of_differences_are_counted_and_the_first_thousand_told(damage: Damage) -> None:
    report = damage.verify("UPDATE rollup_rows SET count = count + 1, sum = 7, max = 1e9")
    assert len(report.differences) == 1000
    assert report.total > 1000


def test_a_row_of_a_range_that_was_compared_apart_is_found(
    of_minutes: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.verification.day.RANGE_ROWS", 50)
    monkeypatch.setattr("streamgauge.verification.day.PORTION", 20)
    row = "(SELECT max(rowid) FROM rollup_rows WHERE metric = 'events')"
    report = of_minutes.verify(f"UPDATE rollup_rows SET count = count + 1 WHERE rowid = {row}")
    [found] = report.differences
    assert (found.what, found.metric, found.resolution) == ("count", "events", 60)


def segments(folder: Folder) -> list[Path]:
    return sorted(folder.options.journal_folder().glob("*.ndjson"))


def test_a_damaged_journal_is_found(folder: Folder, tmp_path: Path) -> None:
    copy = compacted(folder, tmp_path)
    [*_, last] = [path for path in segments(copy) if b'"n":' in path.read_bytes()]
    content = last.read_bytes()
    last.write_bytes(content.replace(b'"type":"b"', b'"type":"c"', 1))
    report = copy.verify()
    assert {one.kind for one in report.differences} == {"journal"}
    last.unlink()
    assert ("journal", "last append") in places(copy.verify())
