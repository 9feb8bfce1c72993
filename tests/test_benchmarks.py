"""The pure parts of the benchmarks: what they send, how they read answers, and what they report."""

import io
import math
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from benchmarks.__main__ import arguments, command_of, measure
from benchmarks.cases.page import drawn_delays_ms
from benchmarks.data import lines_of, make_events, synthetic_lines
from benchmarks.machine import cpu_model
from benchmarks.percentiles import percentiles
from benchmarks.plans import SendPlan, Sent
from benchmarks.programs.frames import CLOSE, PING, TEXT, FrameReader, client_frame
from benchmarks.programs.prober import with_unasked
from benchmarks.programs.pusher import count_in_a_loop
from benchmarks.programs.watcher import as_of
from benchmarks.registry import BENCHMARKS
from benchmarks.report import Report, Section, number, page
from benchmarks.requests import StampedRequest, everything_accepted, read_answer
from benchmarks.row import Benchmark, BenchmarkFailed, Row, Setting, measured
from benchmarks.sending import check_sent
from benchmarks.server import check_counts
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from streamgauge.channels import encode_broadcast
from streamgauge.event import Origin
from streamgauge.events.decode import EventDecoder
from streamgauge.web.protocols import frame_text

SECONDS = st.integers(0, 4_000_000_000)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=1), st.floats(0, 100))
def test_a_percentile_is_a_value_that_was_measured_and_is_reached_often_enough(
    values: list[float], wanted: float
) -> None:
    [found] = percentiles(values, [wanted])
    assert found in values
    assert sum(value <= found for value in values) >= math.floor(wanted / 100 * len(values))
    assert sum(value < found for value in values) <= wanted / 100 * len(values) + 1e-9


def test_percentiles_of_one_to_a_hundred_are_the_numbers_themselves() -> None:
    assert percentiles(range(1, 101), [50, 99, 100]) == [50, 99, 100]


def test_percentiles_of_nothing_are_not_numbers() -> None:
    assert all(math.isnan(value) for value in percentiles([], [50, 99]))


@given(st.lists(SECONDS, min_size=1, max_size=4))
def test_a_request_carries_the_second_in_which_it_is_sent_and_is_otherwise_unchanged(
    seconds: list[int],
) -> None:
    lines = synthetic_lines(5)
    request = StampedRequest(lines, "application/x-ndjson")
    for second in seconds:
        head, _, body = bytes(request.at(second)).partition(b"\r\n\r\n")
        assert head.startswith(b"POST /api/events HTTP/1.1\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        sent = [msgspec.json.decode(line) for line in body.splitlines()]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        for event, line in zip(sent, lines, strict=True):
            made = msgspec.json.decode(line)
            assert event == made | {"timestamp": stamp + made["timestamp"][19:]}


def test_every_made_up_event_is_valid_and_of_the_size_that_is_said() -> None:
    now = int(time.time())
    body = bytes(StampedRequest(synthetic_lines(500), "application/x-ndjson").at(now)).partition(b"\r\n\r\n")[
        2
    ]
    decoded = EventDecoder().decode(body, Origin("test", now * 1_000_000), now_us=now * 1_000_000)
    assert decoded.batch is not None
    assert (len(decoded.batch), decoded.refused) == (500, [])
    assert set((decoded.batch.time_us // 1_000_000).tolist()) == {now}
    assert 120 < len(body) / 500 < 160


def test_made_up_events_are_the_same_every_time_and_in_order() -> None:
    events = make_events(200, start_ms=1_000_000, span_ms=60_000, seed=3)
    assert events == make_events(200, start_ms=1_000_000, span_ms=60_000, seed=3)
    assert events != make_events(200, start_ms=1_000_000, span_ms=60_000, seed=4)
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    assert times[0] >= "1970-01-01T00:16:40.000Z"
    assert times[-1] < "1970-01-01T00:17:40.000Z"


def test_real_events_are_read_from_their_file_as_far_as_they_are_wanted(retail_orders: str) -> None:
    lines = lines_of(retail_orders, 3)
    assert [msgspec.json.decode(line)["type"] for line in lines] == ["purchase"] * 3
    StampedRequest(lines, "application/x-ndjson")  # finds every timestamp


@pytest.fixture
def retail_orders() -> str:
    from benchmarks.data import RETAIL

    if not RETAIL.is_file():
        pytest.skip(f"no {RETAIL}; STREAMGAUGE_DATA names another folder")
    return str(RETAIL)


ANSWER = (
    b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"accepted":100}'
)


def test_an_answer_is_read_only_when_it_is_complete() -> None:
    assert all(read_answer(ANSWER[:size]) is None for size in range(len(ANSWER)))
    answer = read_answer(ANSWER)
    assert answer is not None
    assert (answer.status, answer.receipt.accepted, answer.receipt.rejected) == (202, 100, 0)


def test_the_short_cut_for_answers_takes_none_that_accepts_less() -> None:
    less = b'HTTP/1.1 202 Accepted\r\nContent-Length: 44\r\n\r\n{"accepted":99,"rejected":1,"errors":[{}]}   '
    assert ANSWER.endswith(everything_accepted(100))
    assert not less.endswith(everything_accepted(100))
    assert not ANSWER.endswith(everything_accepted(10))
    assert not ANSWER.endswith(everything_accepted(0))


def test_a_refusal_says_when_to_come_back() -> None:
    answer = read_answer(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\ncontent-length: 2\r\n\r\n{}")
    assert answer is not None
    assert (answer.status, answer.retry_after_s, answer.receipt.accepted) == (503, 2.0, 0)


@given(
    payloads=st.lists(
        st.binary(max_size=300) | st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 65_535, b"x" * 65_536])
    ),
    data=st.data(),
)
def test_frames_arrive_whole_wherever_the_stream_is_cut(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame_text, payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader, found = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert found == [(TEXT, payload) for payload in payloads]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_client_frame_is_masked_and_says_its_length(size: int) -> None:
    frame = client_frame(b"x" * size)
    assert frame[1] & 0x80
    head = bytearray(frame[: len(frame) - size - 4])
    head[1] &= 0x7F
    assert FrameReader().feed(bytes(head) + frame[len(frame) - size :]) == [(TEXT, b"x" * size)]


def test_pings_and_closes_are_told_from_messages() -> None:
    assert FrameReader().feed(b"\x89\x01p\x88\x02\x03\xe8") == [(PING, b"p"), (CLOSE, b"\x03\xe8")]


def test_the_time_of_a_diff_is_found_in_what_the_server_sends() -> None:
    patch = [["set", ["as_of"], 1_767_225_600_123], ["set", ["rate"], 5.0]]
    frame = encode_broadcast(
        "dashboard:overview", "diff", msgspec.json.encode({"version": 2, "patch": patch})
    )
    assert as_of(frame) == 1_767_225_600_123
    assert as_of(b'[null,null,"dashboard:overview","diff",{"patch":[]}]') is None


def test_a_request_is_drawn_by_the_first_frame_that_has_counted_all_up_to_it() -> None:
    frames = [(100.0, 10.0), (200.0, 30.0), (300.0, 50.0)]
    delays = drawn_delays_ms([10.0, 20.0, 30.0, 150.0, 290.0], 10, frames)
    assert delays.tolist() == [90.0, 180.0, 170.0, 150.0, 10.0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.integers(1, 100), st.floats(0, 1e3))
def test_a_page_that_counts_each_request_in_a_frame_of_its_own_has_the_delay_of_each(
    times: list[float], events: int, delay: float
) -> None:
    written = sorted(times)
    frames = [(at + delay, (place + 1.0) * events) for place, at in enumerate(written)]
    assert drawn_delays_ms(written, events, frames) == pytest.approx([delay] * len(written), abs=1e-6)


@pytest.mark.parametrize("frames", [[], [(100.0, 19.0)]])
def test_a_page_that_never_counted_everything_fails_with_what_it_showed(
    frames: list[tuple[float, float]],
) -> None:
    with pytest.raises(BenchmarkFailed, match=r"the page showed \d+ of 20 events"):
        drawn_delays_ms([1.0, 2.0], 10, frames)


def test_an_answer_that_takes_long_stands_for_the_questions_that_were_not_asked_meanwhile() -> None:
    assert with_unasked(0.004, 0.005) == [0.004]
    assert with_unasked(0.023, 0.005) == pytest.approx([0.023, 0.018, 0.013, 0.008, 0.003])


def test_a_count_that_differs_anywhere_fails_with_all_counts() -> None:
    check_counts(10, {"received": 10, "stored": 10})
    with pytest.raises(BenchmarkFailed, match=r"told 10 accepted, but received 10, stored 9"):
        check_counts(10, {"received": 10, "stored": 9})


def sent(requests: int, *, accepted: int = 100, rejected: int = 0) -> Sent:
    return Sent(
        started=0.0,
        started_ms=0,
        ended=1.0,
        ended_ms=1000,
        requests=requests,
        accepted=accepted,
        rejected=rejected,
        refused=0,
        cpu_s=0.0,
        p50_ms=1.0,
        p99_ms=1.0,
    )


def test_a_load_that_was_not_carried_fails() -> None:
    plan = SendPlan(port=1, seconds=1.0, rate=100.0)
    check_sent(plan, sent(100))
    with pytest.raises(BenchmarkFailed, match="90 of 100 requests"):
        check_sent(plan, sent(90))
    with pytest.raises(BenchmarkFailed, match="1 rejected"):
        check_sent(plan, sent(100, rejected=1))
    with pytest.raises(BenchmarkFailed, match="0 events accepted"):
        check_sent(SendPlan(port=1, seconds=1.0), sent(5, accepted=0))


def test_the_plain_loop_agrees_with_numpy() -> None:
    events = make_events(1000, start_ms=0, span_ms=3000)
    groups = count_in_a_loop(events)
    assert sum(group[0] for group in groups.values()) == 1000
    (kind, second), (count, total, least, most, quantiles) = next(iter(groups.items()))
    values = [
        event["value"] for event in events if event["type"] == kind and event["timestamp"][:19] == second
    ]
    assert (count, least, most) == (len(values), min(values), max(values))
    assert total == pytest.approx(sum(values))
    assert quantiles[0] == np.percentile(values, 50, method="lower")


def test_the_ratio_is_of_the_figure_to_what_stands_beside_it() -> None:
    assert measured("a", "b", 30.0, "s", reference=("loop", 20.0)).ratio == 1.5
    assert measured("a", "b", 30.0, "s").ratio is None
    assert measured("a", "b", 30.0, "s", reference=("loop", 0.0)).ratio is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1_234_567.8, "1,234,568"),
        (99.94, "99.9"),
        (1.234, "1.23"),
        (0.01234, "0.012"),
        (0.0, "0"),
        (math.nan, "n/a"),
    ],
)
def test_figures_are_written_with_the_digits_that_matter(value: float, shown: str) -> None:
    assert number(value) == shown


def report(*rows: Row, failure: str | None = None) -> Report:
    section = Section(name="http", about="Events over HTTP", rows=rows, failure=failure)
    return Report(
        date="2026-01-31 12:00 UTC",
        command="python -m benchmarks --markdown docs/benchmarks.md",
        quick=False,
        machine={"CPU": "Fast | Faster", "cores": "2"},
        sections=[section],
    )


ROW = measured(
    "http", "1,000 events a body", 412_345.6, "events/s", reference=("decode only", 1_000_000.0), notes="60 s"
)


def test_the_page_has_the_machine_every_row_and_how_to_repeat_it() -> None:
    text = page(report(ROW))
    assert "| CPU | Fast \\| Faster |" in text
    assert "| http | 412,346 events/s | 1,000,000 (decode only) | 0.41 | 1,000 events a body |" in text
    assert "- http: 60 s." in text
    assert text.count("python -m benchmarks --markdown docs/benchmarks.md") == 2
    assert "2026-01-31" in text


def test_a_quick_run_says_on_the_page_that_it_shows_little() -> None:
    assert "quick form" not in page(report(ROW))
    assert "quick form" in page(msgspec.structs.replace(report(ROW), quick=True))


def test_the_figures_survive_json() -> None:
    written = report(ROW, failure="ended early")
    assert msgspec.json.decode(msgspec.json.encode(written), type=Report) == written
    [row] = msgspec.json.decode(msgspec.json.encode(written))["sections"][0]["rows"]
    assert set(row) == {"name", "what", "figure", "unit", "reference", "reference_figure", "ratio", "notes"}


def test_a_benchmark_that_fails_keeps_the_rows_it_gave_and_fails_the_run(tmp_path: Path) -> None:
    def run(_: Setting) -> Iterator[Row]:
        yield ROW
        raise BenchmarkFailed("the counts differ")

    shown = Console(file=io.StringIO())
    section = measure(Benchmark("http", "Events over HTTP", run), Setting(quick=True, folder=tmp_path), shown)
    assert (section.rows, section.failure) == ((ROW,), "the counts differ")
    assert report(ROW, failure=section.failure).failures == ["http: the counts differ"]


def test_the_command_on_the_page_repeats_what_was_run() -> None:
    assert command_of(arguments(["--json", "x.json"])) == "python -m benchmarks --markdown docs/benchmarks.md"
    assert command_of(arguments(["--quick", "--only", "http", "single"])) == (
        "python -m benchmarks --quick --only http single --markdown docs/benchmarks.md"
    )


def test_a_name_that_is_no_benchmark_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        arguments(["--only", "htpp"])
    assert "store_reference" in capsys.readouterr().err


def test_every_benchmark_has_a_name_of_its_own() -> None:
    assert len({benchmark.name for benchmark in BENCHMARKS}) == len(BENCHMARKS) == 13


def test_a_processor_without_a_name_is_told_by_its_architecture(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast 3000\n")
    assert cpu_model(cpuinfo) == "Fast 3000"
    cpuinfo.write_text("processor\t: 0\n")
    assert cpu_model(cpuinfo)
