"""What was acknowledged outlives a crash: nothing is missing, nothing is counted twice."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import pytest

from server_process import ServerProcess

EVENTS_A_BODY = 200
BODIES = 400


def body(number: int) -> bytes:
    first = number * EVENTS_A_BODY
    lines = (
        b'{"type":"kind_%d","timestamp":%d,"value":%d,"id":%d}\n'
        % (i % 7, 1_700_000_000_000 + i * 10, i % 1000, i)
        for i in range(first, first + EVENTS_A_BODY)
    )
    return b"".join(lines)


class Sender(threading.Thread):
    """Sends bodies one after the other until the server is gone; remembers which were acknowledged."""

    def __init__(self, url: str, numbers: range) -> None:
        super().__init__()
        self._url, self._numbers = url, numbers
        self.acknowledged: list[int] = []
        self.unknown: list[int] = []
        self.enough = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            for number in self._numbers:
                try:
                    answer = client.post(
                        "/api/events", content=body(number), headers={"Content-Type": "application/x-ndjson"}
                    )
                except httpx.HTTPError:
                    self.unknown.append(number)
                    break
                assert answer.status_code == 202, answer.text
                self.acknowledged.append(number)
                if len(self.acknowledged) >= self._numbers.stop // 3:
                    self.enough.set()
        self.enough.set()


def stored_bodies(server: ServerProcess) -> dict[int, int]:
    """How many events of each body the store holds."""
    rows = server.ask(
        f"SELECT CAST(event->>'$.id' AS BIGINT) // {EVENTS_A_BODY} AS body, count(*), count(DISTINCT event->>'$.id')"
        " FROM events GROUP BY body"
    )
    assert all(count == distinct for _, count, distinct in rows), "an event is stored twice"
    return {number: count for number, count, _ in rows}


@pytest.mark.parametrize("fsync", ["interval", "always"])
def test_after_kill_9_in_the_middle_of_a_replay_nothing_acknowledged_is_missing_or_doubled(
    fsync: str, start_server: Callable[..., ServerProcess]
) -> None:
    configuration = f'[journal]\nfsync = "{fsync}"\n[store]\ncommit_interval = "200ms"\n'
    server = start_server(configuration=configuration)
    sender = Sender(str(server.client.base_url), range(BODIES))
    sender.start()
    assert sender.enough.wait(60)
    server.kill()
    sender.join(60)
    assert sender.acknowledged, "the server was killed before it had acknowledged anything"

    restarted = start_server(configuration=configuration)
    ledger = restarted.wait_until_committed()
    found = stored_bodies(restarted)
    assert {number: found.get(number) for number in sender.acknowledged} == dict.fromkeys(
        sender.acknowledged, EVENTS_A_BODY
    )
    assert set(found) <= {*sender.acknowledged, *sender.unknown}
    assert set(found.values()) == {EVENTS_A_BODY}, "a request was stored in part"

    total = sum(found.values())
    assert ledger["stored"] == ledger["received"] == total
    assert [[total]] == restarted.ask("SELECT sum(count) FROM rollups WHERE metric = 'events'")
    raw = restarted.ask(
        "SELECT type, count(*), sum(value), min(value), max(value) FROM events GROUP BY type ORDER BY type"
    )
    answer = restarted.get("/api/metrics/events", **{"from": "all", "step": 86_400})["series"]
    names = ("count", "sum", "min", "max")
    rollups = [[s["by"]["type"], *(s["totals"][name] for name in names)] for s in answer]
    assert raw == sorted(rollups)


def test_what_was_pending_at_a_crash_is_counted_once_after_several_restarts(
    start_server: Callable[..., ServerProcess],
) -> None:
    configuration = '[store]\ncommit_interval = "1m"\n'  # nothing is committed before the crash
    server = start_server(configuration=configuration)
    for number in range(5):
        assert server.post(body(number)).status_code == 202
    assert server.get("/api/ledger")["pending"] == 5 * EVENTS_A_BODY
    server.kill()
    again = start_server(configuration=configuration)
    answer = again.get("/api/metrics/events", **{"from": "all", "by": "", "step": 86_400})
    assert answer["series"][0]["totals"]["count"] == 5 * EVENTS_A_BODY
    again.kill()
    last = start_server()
    ledger = last.wait_until_committed()
    assert ledger["stored"] == 5 * EVENTS_A_BODY
    assert last.ask("SELECT count(*) FROM events") == [[5 * EVENTS_A_BODY]]


def test_a_second_server_on_the_same_data_folder_is_refused_and_names_it(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server()
    with pytest.raises(RuntimeError, match="another process is using this data folder"):
        start_server(data=server.data)


def test_a_clean_stop_commits_everything_and_leaves_nothing_to_replay(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server(configuration='[store]\ncommit_interval = "1m"\n')
    assert server.post(body(0)).status_code == 202
    assert server.stop() == 0
    restarted = start_server()
    assert restarted.get("/api/ledger")["pending"] == 0
    assert "replayed" not in restarted.errors()
    assert restarted.ask("SELECT count(*) FROM events") == [[EVENTS_A_BODY]]
