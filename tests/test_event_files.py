"""What files of events become: lines of JSON, whatever they are written in."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import event_files, event_logs, event_parquet
from streamgauge.event import FieldMapping
from streamgauge.event_files import UnreadableFile, bytes_of, lines_of

LINES = b'{"type":"a"}\n{"type":"b"}\n'
EVENTS = [{"type": "a"}, {"type": "b"}]


def zstd(text: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(text)


@pytest.fixture
def events_of(tmp_path: Path) -> Callable[..., list[Any]]:
    def read(name: str, text: bytes, **options: Any) -> list[Any]:
        (tmp_path / name).write_bytes(text)
        lines = [line.text for line in lines_of(str(tmp_path / name), **options)]
        assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
        return [json.loads(line) for line in lines]

    return read


EventsOf = Callable[..., list[Any]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.ndjson", LINES),
        ("gzip.ndjson.gz", gzip.compress(LINES)),
        ("two members.ndjson.gz", gzip.compress(LINES[:13]) + gzip.compress(LINES[13:])),
        ("zstd.ndjson.zst", zstd(LINES)),
        ("two frames.ndjson.zst", zstd(LINES[:13]) + zstd(LINES[13:])),
        ("named without its compression.ndjson", gzip.compress(LINES)),
        ("no last newline.ndjson", LINES[:-1]),
        ("blank lines.ndjson", b"\n" + LINES.replace(b"\n", b"\r\n\n") + b" \n"),
        ("byte order mark.ndjson", b"\xef\xbb\xbf" + LINES),
        ("array.json", b'[{"type": "a"},\n {"type":\n"b"}]'),
        ("marked array.json", b'\xef\xbb\xbf\n [{"type": "a"}, {"type": "b"}]\n'),
        ("lines.json", LINES),
        ("array.json.gz", gzip.compress(b'[{"type":"a"},{"type":"b"}]')),
        ("table.csv", b"type\na\nb\n"),
        ("table.csv.gz", gzip.compress(b"type\na\nb\n")),
        ("table.csv.zst", zstd(b"type\na\nb\n")),
        ("TABLE.CSV", b"type\na\nb\n"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_same_events_are_read_from_every_kind_of_file(
    name: str, text: bytes, events_of: EventsOf
) -> None:
    assert events_of(name, text) == EVENTS


@pytest.mark.parametrize("name", ["empty.ndjson", "empty.csv", "empty.ndjson.gz", "empty.zst", "header.csv"])
def test_a_file_without_events_gives_none(name: str, events_of: EventsOf) -> None:
    assert events_of(name, b"type,value\n" if name == "header.csv" else b"") == []


def test_a_line_that_is_no_json_is_left_to_the_server_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(b'{"type":"a"}\n{oops\n')
    lines = lines_of(str(tmp_path / "a.ndjson"))
    assert [line.text for line in lines] == [b'{"type":"a"}\n', b"{oops\n"]


class TestCsv:
    @pytest.mark.parametrize(
        ("cell", "value"),
        [
            ("12", 12), ("-3", -3), ("0", 0), ("1.50", 1.5), ("0.5", 0.5), ("1e3", 1000.0), ("-2.5E-1", -0.25),
            ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
            ("9223372036854775808", "9223372036854775808"), ("1" * 5000, "1" * 5000),
            ("true", True), ("false", False), ("007", "007"), ("-007", "-007"), ("00", "00"), ("+49", "+49"),
            ("1_000", "1_000"), ("1e999", "1e999"), ("-inf", "-inf"), ("nan", "nan"), ("٣", "٣"), ("²", "²"),
            ("2026-01-31", "2026-01-31"), ("1.", "1."), (".5", ".5"), ("-", "-"), ("1,5", "1,5"), (" 5", " 5"),
            ("0x1F", "0x1F"), ("null", "null"),
        ],
    )  # fmt: skip
    def test_a_cell_is_a_number_or_a_truth_value_only_where_json_writes_it_so(
        self, cell: str, value: object, events_of: EventsOf
    ) -> None:
        [event] = events_of("a.csv", f'type,x\na,"{cell}"\n'.encode())
        assert event == {"type": "a", "x": value}
        assert type(event["x"]) is type(value)

    def test_empty_cells_are_left_out(self, events_of: EventsOf) -> None:
        text = b'type,value,page\na,,/\nb,1,\nc,"",\nd\n'
        assert events_of("a.csv", text) == [
            {"type": "a", "page": "/"},
            {"type": "b", "value": 1},
            {"type": "c"},
            {"type": "d"},
        ]

    def test_quotes_hold_delimiters_quotes_and_newlines(self, events_of: EventsOf) -> None:
        [event] = events_of("a.csv", b'type,"the, page"\r\na,"say ""hi"",\nthen go"\r\n')
        assert event == {"type": "a", "the, page": 'say "hi",\nthen go'}

    def test_a_byte_order_mark_is_no_part_of_the_first_name(self, events_of: EventsOf) -> None:
        assert events_of("a.csv", "\ufefftype,value\na,1\n".encode()) == [{"type": "a", "value": 1}]

    @pytest.mark.parametrize(
        ("name", "delimiter"), [("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.csv", ",")]
    )
    def test_the_header_tells_the_delimiter(self, name: str, delimiter: str, events_of: EventsOf) -> None:
        text = "type,value\na,1\n".replace(",", delimiter).encode()
        assert events_of(name, text) == [{"type": "a", "value": 1}]

    def test_the_column_of_the_type_stays_text(self, events_of: EventsOf) -> None:
        assert events_of("a.csv", b"status,x\n404,1\n", fields=FieldMapping(type="status")) == [
            {"status": "404", "x": 1}
        ]

    def test_a_column_without_a_name_is_named_by_its_place(self, events_of: EventsOf) -> None:
        assert events_of("a.csv", b",type\n0,a\n") == [{"column_1": 0, "type": "a"}]

    def test_a_row_with_too_many_cells_is_told_of_and_does_not_cost_the_others(
        self, events_of: EventsOf
    ) -> None:
        skipped: list[str] = []
        found = events_of("a.csv", b"type,x\na,1\nb,2,3\nc,4\n", skipped=skipped.append)
        assert [event["type"] for event in found] == ["a", "c"]
        [problem] = skipped
        assert problem.endswith("a.csv, line 3: 3 cells, but the header has 2")

    @given(
        st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["a", "b"]),
                    "x": st.integers(-(2**63), 2**63 - 1)
                    | st.floats(allow_nan=False, allow_infinity=False)
                    | st.booleans(),
                }
            ),
            max_size=5,
        )
    )
    def test_what_json_writes_into_cells_comes_back(self, events: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["type", "x"])
        writer.writerows([event["type"], json.dumps(event["x"])] for event in events)
        lines = event_files._csv_lines(
            "a.csv", io.BytesIO(text.getvalue().encode()), set(), lambda problem: None
        )
        assert [json.loads(line.text) for line in lines] == events


class TestParquet:
    @pytest.fixture
    def parquet(self, tmp_path: Path) -> Callable[[str], bytes]:
        def write(rows: str) -> bytes:
            with duckdb.connect() as connection:
                connection.execute(f"COPY ({rows}) TO '{tmp_path / 'made'}' (FORMAT parquet)")
            return (tmp_path / "made").read_bytes()

        return write

    def test_columns_of_every_usual_type_become_fields(
        self, parquet: Callable[[str], bytes], events_of: EventsOf
    ) -> None:
        text = parquet(
            "SELECT 404 AS type, 1.5 :: DOUBLE AS value, TIMESTAMP '2026-01-31 12:00:00.25' AS timestamp,"
            " TIMESTAMPTZ '2026-01-31 12:00:00+02' AS zoned, DATE '2026-01-31' AS day, true AS flag,"
            " [1, 2] AS list, {'a': 'x', 'b': NULL} AS nested, 9223372036854775807 AS big, 12.25 :: DECIMAL(9, 2) AS price,"
            " NULL :: INT AS missing, 'nan' :: DOUBLE AS undefined, 'gr\u00fc\u00df\n\"' AS text"
        )
        assert events_of("a.parquet", text) == [
            {
                "type": "404", "value": 1.5, "timestamp": "2026-01-31T12:00:00.250000Z",
                "zoned": "2026-01-31T10:00:00.000000Z", "day": "2026-01-31", "flag": True, "list": [1, 2],
                "nested": {"a": "x"}, "big": 2**63 - 1, "price": 12.25, "text": 'gr\u00fc\u00df\n"',
            }
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "name", ["a.parquet", "[a]*?.parquet", "named otherwise", "a.parquet.gz", "a.zst"]
    )
    def test_it_is_read_plain_or_compressed_whatever_its_name(
        self, name: str, parquet: Callable[[str], bytes], events_of: EventsOf
    ) -> None:
        text = parquet("SELECT 'a' AS type, i AS x FROM range(5000) AS numbers(i)")
        packed = (
            gzip.compress(text) if name.endswith(".gz") else zstd(text) if name.endswith(".zst") else text
        )
        read: list[int] = []
        if name == "a.zst":
            found = events_of(name, packed, form="parquet", read=read.append)
        else:
            found = events_of(name, packed, read=read.append)
        assert found == [{"type": "a", "x": i} for i in range(5000)]
        assert sum(read) >= len(packed)

    def test_a_row_is_named_by_its_number(self, parquet: Callable[[str], bytes], tmp_path: Path) -> None:
        (tmp_path / "a.parquet").write_bytes(parquet("SELECT 'a' AS type FROM range(3)"))
        assert [line[1:] for line in lines_of(str(tmp_path / "a.parquet"))] == [(i, "row") for i in (1, 2, 3)]

    @pytest.mark.parametrize("text", [b"PAR1 and nothing else", b"no parquet at all"])
    def test_what_is_none_is_named(self, text: bytes, events_of: EventsOf) -> None:
        with pytest.raises(UnreadableFile, match=r"a\.parquet: cannot be read as Parquet: "):
            events_of("a.parquet", text)

    def test_rows_are_read_some_at_a_time(
        self, parquet: Callable[[str], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(event_parquet, "ROWS_AT_ONCE", 10)
        (tmp_path / "a.parquet").write_bytes(parquet("SELECT 'a' AS type FROM range(35)"))
        assert len(list(lines_of(str(tmp_path / "a.parquet")))) == 35


LOG = b"""\
2026-01-31T12:00:00Z INFO web[17] {"type": "a", "x": {"y": 1}}
started {pid 17}

<13>host {not json} app: {"type": "b"}
just words
{"type": "c"}
"""
ACCESS = b"""\
192.0.2.7 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache.gif?size=1&x=2 HTTP/1.0" 200 2326 \
"http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"
2001:db8::1 - - [01/Feb/2026:00:00:00 +0000] "POST /orders HTTP/1.1" 304 - "-" "say \\"hi\\" \\x22\\xC3" "10.0.0.1" 0.123
words
192.0.2.8 - - [01/Feb/2026:00:00:01 +0000] "\\x16\\x03\\x01" 400 150
"""


class TestLogs:
    @pytest.mark.parametrize("form", ["auto", "json-logs"])
    @pytest.mark.parametrize("name", ["app.log", "app.log.gz", "app.log.zst"])
    def test_the_json_behind_a_prefix_is_the_event(self, name: str, form: str, events_of: EventsOf) -> None:
        text = gzip.compress(LOG) if name.endswith(".gz") else zstd(LOG) if name.endswith(".zst") else LOG
        skipped: list[str] = []
        found = events_of(name, text, form=form, skipped=skipped.append)
        assert found == [{"type": "a", "x": {"y": 1}}, {"type": "b"}, {"type": "c"}]
        assert [problem.partition(name)[2] for problem in skipped] == [
            ", line 2: no JSON object: 'started {pid 17}'",
            ", line 5: no JSON object: 'just words'",
        ]

    @pytest.mark.parametrize("form", ["auto", "combined"])
    @pytest.mark.parametrize("name", ["access.log", "access.log.1.gz"])
    def test_a_line_of_an_access_log_is_a_request(self, name: str, form: str, events_of: EventsOf) -> None:
        skipped: list[str] = []
        text = gzip.compress(ACCESS) if name.endswith(".gz") else ACCESS
        assert events_of(name, text, form=form, skipped=skipped.append) == [
            {
                "type": "request", "timestamp": "2000-10-10T13:55:36-07:00", "ip": "192.0.2.7", "user_id": "frank",
                "method": "GET", "path": "/apache.gif", "query": "size=1&x=2", "protocol": "HTTP/1.0", "status": 200,
                "value": 2326, "referrer": "http://www.example.com/start.html",
                "user_agent": "Mozilla/4.08 [en] (Win98; I ;Nav)",
            },
            {
                "type": "request", "timestamp": "2026-02-01T00:00:00+00:00", "ip": "2001:db8::1", "method": "POST",
                "path": "/orders", "protocol": "HTTP/1.1", "status": 304, "user_agent": 'say "hi" "\\xC3',
            },
            {
                "type": "request", "timestamp": "2026-02-01T00:00:01+00:00", "ip": "192.0.2.8", "status": 400,
                "value": 150, "request": "\x16\x03\x01",
            },
        ]  # fmt: skip
        [problem] = skipped
        assert problem.endswith(f"{name}, line 3: not of the combined log format: 'words'")

    def test_the_virtual_host_may_stand_before_it(self, events_of: EventsOf) -> None:
        hosted = b"".join(b"shop.example:443 " + line + b"\n" for line in ACCESS.splitlines()[:2])
        plain = events_of("a.log", ACCESS)[:2]
        assert events_of("b.log", hosted) == [{**event, "host": "shop.example:443"} for event in plain]

    def test_its_reserved_fields_are_named_as_they_are_mapped(self, events_of: EventsOf) -> None:
        fields = FieldMapping(type="kind", timestamp="at", value="bytes", user_id="who")
        event = events_of("access.log", ACCESS, fields=fields)[0]
        assert (event["kind"], event["at"][:4], event["bytes"], event["who"]) == (
            "request",
            "2000",
            2326,
            "frank",
        )

    def test_bytes_that_are_no_text_are_kept_as_escapes(self, events_of: EventsOf) -> None:
        [event] = events_of("a.log", b'1.2.3.4 - - [01/Feb/2026:00:00:01 +0000] "GET /\xff HTTP/1.1" 200 1\n')
        assert event["path"] == "/\\xff"

    @pytest.mark.parametrize(
        ("text", "events"),
        [
            (b'[{"type":"a"}\n,{"type":"b"}]', EVENTS),
            (b'[ \n{"type":"a"},{"type":"b"}]', EVENTS),
            (b'[2026-01-31 12:00] {"type":"a"}\n[12:01] {"type":"b"}\n', EVENTS),
        ],
    )
    def test_a_bracket_begins_an_array_or_the_prefix_of_a_log(
        self, text: bytes, events: list[Any], events_of: EventsOf
    ) -> None:
        assert events_of("a.json", text) == events

    @given(st.text(max_size=30), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
    def test_whatever_stands_before_an_object_it_is_found(self, prefix: str, event: dict[str, Any]) -> None:
        line = prefix.replace("{", "").encode(errors="replace") + json.dumps(event).encode()
        part = event_logs.json_part(line)
        assert part is not None
        assert json.loads(part) == event

    @given(st.binary(max_size=60))
    def test_any_bytes_are_a_line_or_none(self, line: bytes) -> None:
        event_logs.json_part(line)
        event_logs.combined_reader(FieldMapping())(line)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("a.ndjson.gz", gzip.compress(LINES * 999)[:-9], "ends too early"),
            ("a.ndjson.gz", gzip.compress(LINES)[:-8] + b"\0" * 8, "damaged"),
            ("a.ndjson.zst", zstd(LINES * 999)[:-3], "ends too early"),
            ("a.ndjson.zst", b"no zstd", "damaged"),
            ("a.json", b'[{"type": "a"}, ', "not one"),
            ("a.csv", "type,x\na,gr\xfc\xdf\n".encode("latin-1"), "not UTF-8"),
            ("a.csv", b'type,x\na,"open' + b"x" * 200_000, "quote"),
            ("a.csv", b"type,x,x\na,1,2\n", "'x'"),
            ("a.csv", "type\na\n".encode("utf-16"), "iconv -f utf-16"),
            ("a.zip", b"PK\x03\x04 and more", "zip archive"),
            ("a.ndjson.bz2", bz2.compress(LINES), "bzcat FILE | streamgauge replay -"),
            ("a.json.xz", lzma.compress(LINES), "xzcat FILE | streamgauge replay -"),
            ("a.log", b"words \0 words\n", "zero bytes"),
        ],
    )
    def test_a_damaged_file_is_named_with_what_is_wrong(
        self, name: str, text: bytes, said: str, events_of: EventsOf
    ) -> None:
        with pytest.raises(UnreadableFile, match=name) as refused:
            events_of(name, text)
        assert said in str(refused.value)

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableFile, match=r"nowhere\.ndjson: No such file"):
            list(lines_of(str(tmp_path / "nowhere.ndjson")))

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableFile, match="Is a directory"):
            list(lines_of(str(tmp_path)))

    @pytest.mark.parametrize("name", ["a.ndjson", "a.csv"])
    def test_a_line_is_not_read_without_end(
        self, name: str, events_of: EventsOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(event_files, "LONGEST_LINE", 1000)
        with pytest.raises(UnreadableFile, match="a line of more than"):
            events_of(name, b"type\n" + b"x" * 2000)

    def test_an_array_is_not_read_without_end(
        self, events_of: EventsOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(event_files, "LARGEST_ARRAY", 1000)
        with pytest.raises(UnreadableFile, match=r"one event a line, as jq -c"):
            events_of("a.json", b"[" + b" " * 2000 + b"]")


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.ndjson.zst", "a.csv"])
def test_every_byte_of_the_file_on_the_disk_is_counted_as_read(name: str, tmp_path: Path) -> None:
    text = b"type\n" + b"a\n" * 50_000 if name == "a.csv" else LINES * 50_000
    packed = gzip.compress(text) if name.endswith(".gz") else zstd(text) if name.endswith(".zst") else text
    (tmp_path / name).write_bytes(packed)
    counts: list[int] = []
    for _ in lines_of(str(tmp_path / name), read=counts.append):
        pass
    assert sum(counts) == len(packed) == bytes_of([str(tmp_path / name)])


def test_the_size_of_standard_input_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LINES)
    assert bytes_of([str(tmp_path / "a"), "-"]) is None
