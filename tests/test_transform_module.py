"""A user's module in its own process: what it may do to events, and what of its failures costs whom."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streamgauge.errors import OptionError
from streamgauge.transform.module import ModuleRunner
from streamgauge.transform.program import Program
from transform_tools import DEADLY, KINDS, MILD, POISON, lines, program, read, reasons, started
from web_tools import until


def good(count: int) -> list[dict[str, object]]:
    return [{"type": "ok", "number": number} for number in range(count)]


async def test_events_are_changed_left_out_and_kept_in_their_order(tmp_path: Path) -> None:
    module = program(
        tmp_path,
        """
        def transform(event):
            if event["number"] % 3 == 0:
                return None
            return {**event, "type": "other", "double": 2 * event["number"]}
        """,
    )
    async with started(module) as runner:
        outcome = await runner.run(lines(good(5000)))
    assert not outcome.failures
    assert read(outcome) == [
        None if number % 3 == 0 else {"type": "other", "number": number, "double": 2 * number}
        for number in range(5000)
    ]


async def test_a_module_may_be_an_object_that_can_be_called_and_may_import_its_neighbours(
    tmp_path: Path,
) -> None:
    (tmp_path / "prices.py").write_text("RATE = 3\n")
    module = program(
        tmp_path,
        """
        import prices
        class Transform:
            def __call__(self, event):
                return {**event, "rate": prices.RATE}
        transform = Transform()
        """,
    )
    async with started(module) as runner:
        assert read(await runner.run(lines([{"type": "a"}]))) == [{"type": "a", "rate": 3}]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_bad_event_does_costs_that_event_alone(tmp_path: Path, kind: str) -> None:
    events = good(300)
    for place in (7, 150):
        events[place] = {"type": kind}
    async with started(program(tmp_path, POISON)) as runner:
        outcome = await runner.run(lines(events))
    failed = reasons(outcome)
    assert failed.keys() == {7, 150}
    assert all((MILD | DEADLY)[kind] in reason for reason in failed.values()), failed
    assert [place for place, event in enumerate(read(outcome)) if event is None] == [7, 150]
    assert runner.restarts <= 2 * len(failed), "each may cost two processes"


async def test_the_traceback_says_where_in_the_module_an_event_failed_or_hung(tmp_path: Path) -> None:
    async with started(program(tmp_path, POISON)) as runner:
        outcome = await runner.run(lines([{"type": "raise"}, {"type": "loop"}, {"type": "crash"}]))
    traces = {failed.position: failed.traceback for failed in outcome.failures}
    assert traces[0].rstrip().endswith("ValueError: no such thing")
    assert 'raise ValueError("no such thing")' in traces[0]
    assert all("shop.py" in traces[place] for place in (0, 1, 2)), traces
    assert all("worker.py" not in trace for trace in traces.values())


async def test_a_hanging_event_does_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.005)

    counting = asyncio.create_task(count_turns())
    async with started(program(tmp_path, POISON)) as runner:
        await runner.run(lines([{"type": "loop"}]))
    counting.cancel()
    assert turns > 20


async def test_a_module_broken_by_one_event_is_mended_by_a_new_process(tmp_path: Path) -> None:
    module = program(
        tmp_path,
        """
        broken = False
        def transform(event):
            global broken
            if event["type"] == "breaks":
                broken = True
            elif broken:
                raise RuntimeError("broken by another")
            return event
        """,
    )
    async with started(module) as runner:
        worker = runner._worker
        assert worker is not None
        worker.started_at -= 10  # not replaced just now
        outcome = await runner.run(lines([{"type": "breaks"}, *good(100)]))
    assert not outcome.failures
    assert runner.restarts == 1


async def test_memory_that_one_event_has_used_up_is_not_missed_by_another(tmp_path: Path) -> None:
    module = program(
        tmp_path,
        """
        kept = []
        def transform(event):
            kept.append(bytearray(event.get("bytes", 10_000_000)))
            return {"type": event["type"]}
        """,
        memory_bytes=2**28,
    )
    async with started(module) as runner:
        outcome = await runner.run(lines([*good(100), {"type": "large", "bytes": 2**29}]))
    assert reasons(outcome) == {100: "MemoryError"}
    assert runner.restarts < 20, "as many as fit go through one process"


async def test_an_event_that_grows_beyond_the_limit_fails_with_both_sizes(tmp_path: Path) -> None:
    module = program(
        tmp_path, "def transform(event): return {'type': 'a', 'text': 'x' * event['size']}", event_bytes=1000
    )
    async with started(module) as runner:
        outcome = await runner.run(lines([{"type": "a", "size": 100}, {"type": "a", "size": 2000}]))
    assert reasons(outcome) == {
        1: "ValueError: transform returned an event of 2022 bytes; at most 1000 are allowed"
    }


async def test_answers_of_any_size_come_through_in_pieces(tmp_path: Path) -> None:
    module = program(tmp_path, "def transform(event): return {**event, 'text': 'x' * 50_000}")
    async with started(module) as runner:
        outcome = await runner.run(lines(good(200)))
    assert [event["number"] for event in read(outcome)] == list(range(200))


async def test_a_slow_module_is_asked_for_less_at_a_time_until_it_keeps_its_deadline(tmp_path: Path) -> None:
    module = program(
        tmp_path,
        """
        import time
        def transform(event):
            time.sleep(0.01)
            return event
        """,
        deadline_s=0.5,
    )
    async with started(module) as runner:
        outcome = await runner.run(lines(good(150)))
    assert not outcome.failures
    assert None not in outcome.lines


async def test_what_a_module_prints_is_logged_with_a_limit(tmp_path: Path) -> None:
    module = program(
        tmp_path,
        """
        import os, sys
        def transform(event):
            print("a" * 10_000_000)
            for number in range(1000):
                print("line", number, file=sys.stderr)
            os.write(1, b"unbuffered")
            return event
        """,
    )
    with capture_logs() as logged:
        async with started(module) as runner:
            outcome = await runner.run(lines(good(3)))
    printed = [entry["line"] for entry in logged if entry["event"] == "a transform printed"]
    left_out = sum(
        entry["lines"] for entry in logged if entry["event"] == "a transform's output was left out"
    )
    assert not outcome.failures
    assert 1 < len(printed) < 100
    assert all(len(line) <= 1000 for line in printed)
    assert len(printed) + left_out == 3 * 1001 + 1


async def test_a_worker_has_nothing_of_the_server_but_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGAUGE_SECRET", "swordfish")
    held = (tmp_path / "lock").open("w")
    os.set_inheritable(held.fileno(), True)  # noqa: FBT003  the function's own way
    module = program(
        tmp_path,
        """
        import os, sys
        def transform(event):
            files = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")]
            return {"type": "a", "secret": os.environ.get("STREAMGAUGE_SECRET"), "files": files, "input": sys.stdin.read()}
        """,
    )
    async with started(module) as runner:
        [event] = read(await runner.run(lines(good(1))))
    held.close()
    assert event["secret"] is None
    assert not [name for name in event["files"] if "lock" in name]
    assert event["input"] == ""


async def test_whatever_a_module_starts_ends_with_it(tmp_path: Path) -> None:
    module = program(
        tmp_path,
        """
        import subprocess
        def transform(event):
            return {"type": "a", "pid": subprocess.Popen(["sleep", "600"]).pid}
        """,
    )
    async with started(module) as runner:
        [event] = read(await runner.run(lines(good(1))))
        assert is_running(event["pid"])
    await until(lambda: not is_running(event["pid"]))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_worker_that_dies_between_two_slices_is_replaced(tmp_path: Path) -> None:
    async with started(program(tmp_path, POISON)) as runner:
        assert runner._worker is not None
        os.kill(runner._worker.pid, 9)
        outcome = await runner.run(lines(good(10)))
    assert not outcome.failures
    assert len(read(outcome)) == 10


async def test_a_worker_ends_when_its_caller_is_cancelled(tmp_path: Path) -> None:
    runner = ModuleRunner(program(tmp_path, POISON, deadline_s=60.0))
    await runner.open()
    assert runner._worker is not None
    pid = runner._worker.pid
    task = asyncio.create_task(runner.run(lines([{"type": "loop"}])))
    await until(lambda: runner._worker is not None and runner._worker.asked)
    task.cancel()
    await asyncio.wait([task])
    assert not is_running(pid)
    await runner.close()


async def test_an_answer_to_an_earlier_lease_is_not_taken(tmp_path: Path) -> None:
    module = program(
        tmp_path,
        """
        import gc, sys
        def transform(event):
            main = sys.modules["__main__"]
            channel = next(one for one in gc.get_objects() if isinstance(one, main.Channel))
            channel.send(main.Result(0, b"\\1", b'{"type":"forged"}', []))
            return event
        """,
    )
    async with started(module) as runner:
        assert [event["type"] for event in read(await runner.run(lines(good(1))))] == ["ok"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "import nothing_of_that_name\n",
            "line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'",
        ),
        ("x = 1\n\nx / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('no')\n", "line 2: SystemExit: no"),
        ("x = 1\n", "it has no function `transform`"),
        ("transform = 1\n", "it has no function `transform`"),
        ("async def transform(event):\n    return event\n", "line 1: `transform` is async or a generator"),
        ("import os\nos._exit(7)\n", "while it was loaded, it ended its process with exit code 7"),
    ],
)
async def test_a_module_that_cannot_be_used_is_one_clear_error(
    tmp_path: Path, text: str, problem: str
) -> None:
    runner = ModuleRunner(program(tmp_path, text))
    with pytest.raises(OptionError) as caught:
        await runner.open()
    assert caught.value.path == "transform.module"
    assert "shop.py" in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"), [("def transform(event:\n", "line 1: SyntaxError"), ("x = '\0'", "SyntaxError")]
)
def test_a_module_that_is_no_python_is_refused_before_anything_is_started(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(OptionError, match=problem):
        program(tmp_path, text)


def test_a_module_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="No such file"):
        Program.read(str(tmp_path / "no.py"), deadline_s=1, memory_bytes=2**30, event_bytes=1000)


async def test_a_change_of_the_file_takes_effect_at_the_next_start(tmp_path: Path) -> None:
    async with started(program(tmp_path, POISON)) as runner:
        (tmp_path / "shop.py").write_text("raise RuntimeError\n")
        outcome = await runner.run(lines([{"type": "end"}, *good(3)]))
    assert reasons(outcome).keys() == {0}
    assert read(outcome)[1] == {"type": "ok", "number": 0, "seen": True}


async def test_where_no_process_can_be_started_events_wait_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = program(
        tmp_path,
        """
        import prices
        def transform(event):
            return event
        """,
    )
    (tmp_path / "prices.py").write_text("")
    async with started(module) as runner:
        (tmp_path / "prices.py").write_text("raise RuntimeError('not now')\n# longer\n")
        assert runner._worker is not None
        os.kill(runner._worker.pid, 9)
        with capture_logs() as logged:
            task = asyncio.create_task(runner.run(lines(good(5))))
            await until(lambda: any("does not load" in entry["event"] for entry in logged))
            (tmp_path / "prices.py").write_text("AGAIN = 1\n# much longer than before\n")
            outcome = await asyncio.wait_for(task, 30)
    assert not outcome.failures
    assert None not in outcome.lines
