"""Streamgauge inside a program: what is pushed is seen, kept, or told of; and the program can always end."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamgauge import Streamgauge, StreamgaugeError, embedded
from streamgauge.errors import DataFolderInUse, NotSeveral, OptionError, QueryError, Saturated, UnknownMetric

START_S = 1_700_000_000
REVENUE = {
    "metric": [
        {
            "name": "revenue",
            "where": "type = 'purchase'",
            "value": "amount",
            "by": ["country"],
            "aggregates": ["sum", "count"],
        }
    ]
}


@pytest.fixture
def gauge() -> Iterator[Streamgauge]:
    with Streamgauge() as opened:
        yield opened


def event(number: int, kind: str = "a") -> dict[str, Any]:
    return {"type": kind, "timestamp": START_S + number % 100, "value": number}


def count(gauge: Streamgauge) -> int:
    return sum(series["totals"]["count"] for series in gauge.query("events"))


class TestPushing:
    def test_a_query_sees_the_event_that_was_pushed_just_before(self, gauge: Streamgauge) -> None:
        for number in range(1, 51):
            gauge.push_event(event(number))
            assert count(gauge) == number

    def test_many_threads_can_push_and_nothing_is_lost(self, gauge: Streamgauge) -> None:
        threads, each = 8, 12_500
        together = threading.Barrier(threads)

        def push(first: int) -> None:
            together.wait()
            for number in range(first, first + each):
                gauge.push_event(event(number))

        pushing = [threading.Thread(target=push, args=(i * each,)) for i in range(threads)]
        for thread in pushing:
            thread.start()
        for thread in pushing:
            thread.join()
        [series] = gauge.query("events", by="type", aggregates=["count", "sum", "min", "max"])
        total = threads * each
        assert series["totals"] == {
            "count": total,
            "sum": total * (total - 1) / 2,
            "min": 0,
            "max": total - 1,
        }

    def test_a_thread_sees_its_own_events_while_others_push(self, gauge: Streamgauge) -> None:
        wrong: list[tuple[int, int]] = []

        def push(kind: str) -> None:
            for number in range(1, 1501):
                gauge.push_event(event(number, kind))
                if number % 50 == 0:
                    series = gauge.query("events", where=f"type = '{kind}'")
                    seen = series[0]["totals"]["count"] if series else 0
                    if seen != number:
                        wrong.append((number, seen))

        pushing = [threading.Thread(target=push, args=(kind,)) for kind in "abcd"]
        for thread in pushing:
            thread.start()
        for thread in pushing:
            thread.join()
        assert wrong == []

    def test_threads_that_push_first_start_one_gauge_together(self) -> None:
        gauge, together = Streamgauge(), threading.Barrier(8)

        def push(number: int) -> None:
            together.wait()
            gauge.push_event(event(number))

        pushing = [threading.Thread(target=push, args=(i,)) for i in range(8)]
        for thread in pushing:
            thread.start()
        for thread in pushing:
            thread.join()
        assert count(gauge) == 8
        gauge.close()

    def test_what_is_pushed_is_counted_without_being_asked_for(self, gauge: Streamgauge) -> None:
        counted = threading.Event()
        assert gauge._engine is not None
        gauge._engine.observe = lambda partials: counted.set()
        gauge.push_event(event(1))
        assert counted.wait(10)

    def test_a_batch_tells_how_many_were_accepted_and_which_were_not(self, gauge: Streamgauge) -> None:
        receipt = gauge.push_events(
            [event(1), {"value": 2}, event(3), {**event(4), "value": "much"}, event(5)]
        )
        assert (receipt.accepted, receipt.rejected) == (3, 2)
        assert receipt.errors == [(1, "no `type`"), (3, 'value: expected a number, got "much"')]
        assert count(gauge) == 3

    def test_a_batch_may_be_anything_that_gives_events(self, gauge: Streamgauge) -> None:
        assert gauge.push_events(event(i) for i in range(20_000)).accepted == 20_000
        assert gauge.push_events([]).accepted == 0
        assert count(gauge) == 20_000

    def test_one_event_where_several_are_expected_is_told_the_right_call(self, gauge: Streamgauge) -> None:
        with pytest.raises(NotSeveral, match="got one mapping; use push_event"):
            gauge.push_events(event(1))  # type: ignore[arg-type]
        assert count(gauge) == 0

    def test_a_batch_comes_after_what_was_pushed_before_it(self) -> None:
        last = {"metric": [{"name": "latest", "aggregates": ["last"]}]}
        with Streamgauge(last) as gauge:
            for number in range(500):
                gauge.push_event({"type": "a", "timestamp": START_S, "value": number})
                gauge.push_events([{"type": "a", "timestamp": START_S, "value": -number}])
            assert gauge.query("latest")[0]["totals"]["last"] == -499

    @pytest.mark.parametrize("bad", [{"type": "a", "x": object()}, {"type": "a", "x": "\ud800"}])
    def test_where_events_are_kept_one_that_is_no_json_is_rejected_and_does_not_cost_the_others(
        self, bad: dict[str, Any], tmp_path: Path
    ) -> None:
        with Streamgauge(data=tmp_path) as gauge:
            self._push_a_bad_one(gauge, bad)

    @pytest.mark.parametrize("bad", [{"type": "a", "x": object()}, {"type": "a", "x": "\ud800"}])
    def test_in_memory_that_is_so_for_fields_that_a_metric_refers_to(self, bad: dict[str, Any]) -> None:
        with Streamgauge({"metric": [{"name": "by_x", "by": ["x"]}]}) as gauge:
            self._push_a_bad_one(gauge, bad)

    def test_in_memory_fields_that_nothing_refers_to_are_not_looked_at(self, gauge: Streamgauge) -> None:
        assert gauge.push_events([event(1), {"type": "a", "x": object()}]).accepted == 2
        assert count(gauge) == 2

    def _push_a_bad_one(self, gauge: Streamgauge, bad: dict[str, Any]) -> None:
        receipt = gauge.push_events([event(1), bad, event(2)])
        assert (receipt.accepted, receipt.rejected) == (2, 1)
        [(place, problem)] = receipt.errors
        assert place == 1
        assert "cannot be written as JSON" in problem
        gauge.push_event(bad)
        gauge.push_event(event(3))
        assert count(gauge) == 3
        assert gauge.ledger()["rejected"] == 2

    @pytest.mark.parametrize("bad", [None, "text", 7, ["type", "a"]])
    def test_what_is_no_mapping_is_rejected(self, bad: Any, gauge: Streamgauge) -> None:
        receipt = gauge.push_events([bad, event(1)])
        assert (receipt.accepted, receipt.rejected) == (1, 1)
        assert "expected an object" in receipt.errors[0][1]

    def test_one_that_is_rejected_is_in_the_log_with_its_reason(self, gauge: Streamgauge) -> None:
        with capture_logs() as told:
            gauge.push_event({"value": 1})
            gauge.push_event({"type": "a", "value": "cheap"})
            assert gauge.ledger()["rejected"] == 2
        [line] = told
        assert (line["log_level"], line["events"], line["reason"]) == ("warning", 2, "no `type`")

    def test_numbers_may_be_decimals(self, gauge: Streamgauge) -> None:
        gauge.push_event({"type": "a", "value": Decimal("1.5")})
        assert gauge.query("events", aggregates=["sum"])[0]["totals"] == {"sum": 1.5}

    def test_times_may_be_datetimes(self, gauge: Streamgauge) -> None:
        at = dt.datetime.fromtimestamp(START_S, dt.UTC)
        gauge.push_event({"type": "a", "timestamp": at})
        assert gauge.query("events")[0]["points"]["time"] == [START_S * 1000]

    async def test_it_works_where_an_event_loop_is_running(self) -> None:
        assert asyncio.get_running_loop().is_running()
        with Streamgauge() as gauge:
            gauge.push_event(event(1))
            assert gauge.push_events([event(2)]).accepted == 1
            assert count(gauge) == 2


class TestAsking:
    def test_series_are_by_what_is_asked_for(self, gauge: Streamgauge) -> None:
        gauge.push_events([event(1), event(2, "b"), event(3, "b")])
        found = gauge.query("events", by="type", aggregates=["count", "sum", "p99"])
        totals = {series["by"]["type"]: series["totals"] for series in found}
        assert totals["a"]["count"] == 1
        assert (totals["b"]["count"], totals["b"]["sum"]) == (2, 5.0)
        assert totals["b"]["p99"] == pytest.approx(3, rel=0.011)
        [overall] = gauge.query("events", by=[], aggregates=["count"])
        assert (overall["by"], overall["totals"]) == ({}, {"count": 3})

    def test_a_condition_and_a_top_narrow_it(self, gauge: Streamgauge) -> None:
        gauge.push_events(
            [event(i, kind) for kind, times in (("a", 3), ("b", 2), ("c", 1)) for i in range(times)]
        )
        assert [one["by"] for one in gauge.query("events", where="type = 'b'")] == [{"type": "b"}]
        assert {"type": "a"} in [one["by"] for one in gauge.query("events", top=1, aggregates=["count"])]
        assert {"type": "c"} not in [one["by"] for one in gauge.query("events", top=1)]

    def test_a_range_is_in_seconds_without_its_end(self, gauge: Streamgauge) -> None:
        gauge.push_events([event(i) for i in range(10)])
        [series] = gauge.query("events", start=START_S + 2, end=START_S + 5, step=1)
        assert series["totals"]["count"] == 3
        assert series["points"]["time"] == [(START_S + i) * 1000 for i in (2, 3, 4)]
        assert gauge.query("events", start=START_S + 2.5, end=START_S + 4.5, step=1) == [series]

    def test_half_a_range_goes_to_the_end_of_the_data(self, gauge: Streamgauge) -> None:
        gauge.push_events([event(i) for i in range(10)])
        assert gauge.query("events", start=START_S + 8)[0]["totals"]["count"] == 2
        assert gauge.query("events", end=START_S + 3)[0]["totals"]["count"] == 3
        assert gauge.query("events", start=START_S + 5000) == []

    def test_before_the_first_event_there_is_no_series(self, gauge: Streamgauge) -> None:
        assert gauge.query("events") == []

    def test_metrics_of_ones_own_are_options(self) -> None:
        with Streamgauge(REVENUE) as gauge:
            gauge.push_events(
                [
                    {"type": "purchase", "amount": 10, "country": "DE"},
                    {"type": "purchase", "amount": 5, "country": "DE"},
                    {"type": "page_view", "amount": 99, "country": "DE"},
                ]
            )
            [series] = gauge.query("revenue")
        assert series["by"] == {"country": "DE"}
        assert series["totals"] == {"sum": 15.0, "count": 2}

    @pytest.mark.parametrize("kind", [str, Path])
    def test_options_may_be_a_file_and_are_in_memory_too_unless_it_says_where(
        self, kind: Callable[[Path], str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("conf.toml").write_text('[events]\ntype = "kind"\n')
        with Streamgauge(kind(Path("conf.toml"))) as gauge:
            gauge.push_event({"kind": "a"})
            assert gauge.query("events", aggregates="count")[0]["totals"] == {"count": 1}
        assert [path.name for path in tmp_path.iterdir()] == ["conf.toml"]
        Path("conf.toml").write_text('data = "kept"\n')
        with Streamgauge("conf.toml"):
            assert Path("kept").is_dir()
        Path("conf.toml").write_text("[event]\n")
        with pytest.raises(OptionError, match=r"conf\.toml: event: unknown option"):
            Streamgauge("conf.toml")

    def test_fields_of_other_names_are_options(self) -> None:
        with Streamgauge({"events": {"type": "kind", "timestamp": "at"}}) as gauge:
            assert gauge.push_events([{"kind": "x", "at": START_S}]).accepted == 1
            assert gauge.query("events")[0]["by"] == {"type": "x"}

    def test_the_ledger_accounts_for_every_event(self, gauge: Streamgauge) -> None:
        gauge.push_events([event(1), {"value": 2}])
        gauge.push_event(event(3))
        gauge.push_event({"value": 4})
        ledger = gauge.ledger()
        assert (ledger["received"], ledger["rejected"]) == (4, 2)
        assert ledger["stored"] + ledger["pending"] == 2
        assert set(ledger["sources"]) == {"python"}

    def test_a_metric_that_is_not_there_is_told_with_those_that_are(self, gauge: Streamgauge) -> None:
        with pytest.raises(UnknownMetric, match="'sales'; there are: events, latency"):
            gauge.query("sales")

    def test_a_question_that_cannot_be_answered_is_told(self, gauge: Streamgauge) -> None:
        with pytest.raises(QueryError, match="not grouped by 'country'"):
            gauge.query("events", by="country")

    def test_bad_options_are_told_at_once(self) -> None:
        with pytest.raises(OptionError, match=r"metric\[0\]\.nme: unknown option; did you mean `name`"):
            Streamgauge({"metric": [{"nme": "x"}]})


class TestFolder:
    def test_events_outlive_closing_and_opening_again(self, tmp_path: Path) -> None:
        for expected in (100, 200):
            with Streamgauge(data=tmp_path / "data") as gauge:
                for number in range(100):
                    gauge.push_event(event(number))
                assert count(gauge) == expected
        with Streamgauge(data=tmp_path / "data") as gauge:
            assert count(gauge) == 200
            assert gauge.ledger()["stored"] == 200

    def test_the_folder_may_be_an_option(self, tmp_path: Path) -> None:
        with Streamgauge({"data": str(tmp_path / "data")}) as gauge:
            gauge.push_event(event(1))
        with Streamgauge(data=tmp_path / "data") as gauge:
            assert count(gauge) == 1

    def test_without_a_folder_nothing_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with Streamgauge({"store": {"commit_interval": "100ms"}}) as gauge:
            gauge.push_event(event(1))
            assert count(gauge) == 1
        assert list(tmp_path.iterdir()) == []

    def test_two_in_one_folder_are_refused(self, tmp_path: Path) -> None:
        with Streamgauge(data=tmp_path / "data") as first:
            second = Streamgauge(data=tmp_path / "data")
            with pytest.raises(DataFolderInUse, match="another process is using this data folder"):
                second.push_event(event(1))
            first.push_event(event(2))
            assert count(first) == 1
        assert count(second) == 1, "it can be started once the folder is free"
        second.close()


class TestEnding:
    def test_an_exception_inside_closes_it_and_comes_out(self, tmp_path: Path) -> None:
        def work() -> None:
            with Streamgauge(data=tmp_path / "data") as gauge:
                gauge.push_event(event(1))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            work()
        with Streamgauge(data=tmp_path / "data") as again:
            assert count(again) == 1

    def test_closing_twice_or_before_the_start_is_harmless(self) -> None:
        gauge = Streamgauge()
        gauge.close()
        gauge.push_event(event(1))
        gauge.close()
        gauge.close()

    @pytest.mark.parametrize(
        "use",
        [
            lambda gauge: gauge.push_event(event(1)),
            lambda gauge: gauge.push_events([event(1)]),
            lambda gauge: gauge.query("events"),
            lambda gauge: gauge.ledger(),
        ],
        ids=["push_event", "push_events", "query", "ledger"],
    )
    def test_after_closing_it_says_that_it_is_closed(self, use: Callable[[Streamgauge], object]) -> None:
        with Streamgauge() as gauge:
            gauge.push_event(event(1))
        with pytest.raises(StreamgaugeError, match=r"not running: it was closed; call start\(\)"):
            use(gauge)

    def test_it_can_be_started_again(self, tmp_path: Path) -> None:
        gauge = Streamgauge(data=tmp_path / "data")
        for _ in range(2):
            gauge.start()
            gauge.start()
            gauge.push_event(event(1))
            gauge.close()
        gauge.start()
        assert count(gauge) == 2
        gauge.close()

    @pytest.mark.parametrize("use", ["query('events')", "ledger()", "push_events([])"])
    def test_without_a_with_block_the_first_use_starts_it(self, use: str) -> None:
        gauge = Streamgauge()
        assert eval(f"gauge.{use}", {"gauge": gauge}) is not None  # noqa: S307  ours, a few lines up
        gauge.close()

    def test_no_thread_is_left(self, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        with Streamgauge(data=tmp_path / "data") as gauge:
            gauge.push_event(event(1))
            assert count(gauge) == 1
        left = [thread for thread in threading.enumerate() if thread not in before]
        for thread in left:  # those of a pool have been told to end, and do so in their own time
            thread.join(10)
        assert not any(thread.is_alive() for thread in left)


class Full:
    """Stands before a gauge's way in and refuses so many times."""

    def __init__(self, gauge: Streamgauge, times: float) -> None:
        assert gauge._engine is not None
        intake = gauge._engine.intake
        accept = intake.accept_objects
        self.times, self.asked, self.was_asked = times, 0, threading.Event()

        async def refuse(*arguments: Any) -> Any:
            self.asked += 1
            self.was_asked.set()
            if self.asked <= self.times:
                raise Saturated("no room", 0.001)
            return await accept(*arguments)

        intake.accept_objects = refuse  # type: ignore[method-assign,assignment]  # it passes on what it is given


class TestNoRoom:
    def test_events_wait_until_there_is_room_again(self, gauge: Streamgauge) -> None:
        full = Full(gauge, times=3)
        gauge.push_event(event(1))
        assert gauge.push_events([event(2)]).accepted == 1
        assert count(gauge) == 2
        assert full.asked > 3

    def test_where_there_stays_none_it_is_told_and_nothing_that_was_taken_is_lost(
        self, gauge: Streamgauge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedded, "PATIENCE_S", 0.01)
        full = Full(gauge, times=float("inf"))
        taken = refused = 0
        for number in range(9 * embedded.MOST_WAITING):
            try:
                gauge.push_event(event(number))
                taken += 1
            except StreamgaugeError as exc:
                assert "no room" in str(exc)  # noqa: PT017  it is raised now and then, not by the last one
                refused += 1
                if refused == 20:
                    break
        assert refused == 20
        assert taken <= 2 * embedded.MOST_WAITING, "what waits is bounded"
        with pytest.raises(StreamgaugeError, match="no room"):
            gauge.push_events([event(1)])
        full.times = 0
        gauge._problem = None
        assert count(gauge) == taken

    def test_where_as_much_waits_as_may_not_one_more_is_taken_while_it_is_handed_over(
        self, gauge: Streamgauge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedded, "PATIENCE_S", 0.2)
        full = Full(gauge, times=float("inf"))
        gauge._pushed.extend([event(number) for number in range(2 * embedded.MOST_WAITING)])
        assert full.was_asked.wait(10)  # they have been taken out, and may have to be put back
        with pytest.raises(StreamgaugeError, match="no room"):
            gauge.push_event(event(1))
        full.times = 0
        gauge._problem = None
        assert count(gauge) == 2 * embedded.MOST_WAITING

    def test_closing_without_room_tells_how_many_events_are_not_counted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedded, "PATIENCE_S", 0.01)
        gauge = Streamgauge()
        gauge.start()
        Full(gauge, times=float("inf"))
        for number in range(3):
            gauge._pushed.append(event(number))
        with pytest.raises(
            StreamgaugeError, match="3 events that were pushed could not be accepted: no room"
        ):
            gauge.close()


SCRIPTS = {
    "ends without closing": """
        gauge = Streamgauge(data=folder)
        for number in range(1000):
            gauge.push_event({"type": "a", "value": number})
    """,
    "ends in an exception": """
        gauge = Streamgauge(data=folder)
        for number in range(1000):
            gauge.push_event({"type": "a", "value": number})
        raise SystemExit("on purpose")
    """,
    "pushes from a thread": """
        gauge = Streamgauge(data=folder)
        def push():
            for number in range(1000):
                gauge.push_event({"type": "a", "value": number})
        pushing = threading.Thread(target=push)
        pushing.start()
        pushing.join()
    """,
    "forks, and the child ends": """
        gauge = Streamgauge(data=folder)
        for number in range(500):
            gauge.push_event({"type": "a", "value": number})
        child = os.fork()
        if not child:
            try:
                gauge.push_event({"type": "a"})
            except StreamgaugeError as exc:
                assert "forked" in str(exc), exc
            with Streamgauge() as own:
                own.push_event({"type": "b"})
                assert own.query("events")[0]["totals"]["count"] == 1
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        for number in range(500):
            gauge.push_event({"type": "a", "value": number})
    """,
    "uses multiprocessing": """
        gauge = Streamgauge(data=folder)
        for number in range(1000):
            gauge.push_event({"type": "a", "value": number})
        worker = multiprocessing.get_context("fork").Process(target=print, args=("hello",))
        worker.start()
        worker.join()
        assert worker.exitcode == 0
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_program_that_does_not_close_it_ends_in_time_and_its_events_are_kept(
    name: str, tmp_path: Path
) -> None:
    imports = (
        "import multiprocessing, os, sys, threading\nfrom streamgauge import Streamgauge, StreamgaugeError\n"
    )
    script = imports + "folder = sys.argv[1]\n" + dedent(SCRIPTS[name])
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == (1 if "exception" in name else 0), done.stderr
    if "forks" in name:  # DuckDB's binding tells of its own types that are left in such a child
        assert "Traceback" not in done.stderr
        assert "Task" not in done.stderr
    else:
        assert done.stderr == ("on purpose\n" if "exception" in name else "")
    with Streamgauge(data=tmp_path / "data") as gauge:
        assert count(gauge) == 1000
