"""The live hub: what viewers of a dashboard are sent, and what they are spared."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_tools import NOW_S, batch, tick
from standing_still import stand_still
from streamgauge.config import from_mapping
from streamgauge.epoch import Contribution, Epoch, EpochBook
from streamgauge.errors import StoreError
from streamgauge.ledger import Ledger
from streamgauge.live import hub as hub_module
from streamgauge.live.diff import apply
from streamgauge.live.hub import About, Hub, JoinRefused
from streamgauge.live.pulse import Pulse, Tail
from streamgauge.live.view import EVENTS, LATENCY, Range, View
from streamgauge.metric import SeriesLimit, compute
from streamgauge.partials import Partials, empty, merge
from streamgauge.reader import Reader
from streamgauge.settings import metrics_of
from streamgauge.store import Snapshot

T = TypeVar("T")
TICKING = ("as_of", "rate", "pipeline", "sources")  # what tells of the moment, not of the events
AT_ONCE_HZ = 1e9
FIXED = {"from": (NOW_S - 100) * 1000, "to": (NOW_S + 100) * 1000}
RANGES: list[dict[str, Any]] = [{"range": "5m"}, {"range": "15m"}, FIXED, {"range": "5m", "type": "b"}]


class Rows:
    """The part of a store that the hub reads."""

    def __init__(self) -> None:
        self.committed = 0
        self.reads: list[str] = []
        self.failing: set[str] = set()
        self._parts: dict[str, list[Partials]] = {}

    def hold(self, epoch: Epoch) -> None:
        for name, partials in epoch.merged().items():
            self._parts.setdefault(name, []).append(partials)
        self.committed = epoch.number

    def read(
        self,
        name: str,
        definition: str,
        by: Sequence[str],
        states: tuple[str, ...],
        *,
        start: int | None,
        end: int | None,
    ) -> Snapshot:
        self.reads.append(name)
        if name in self.failing:
            raise StoreError("the disk is gone")
        found = merge(self._parts.get(name, []), states, 1) if name in self._parts else empty(states)
        wanted = (found.bucket >= (start or 0)) & (found.bucket < (end or 2**62))
        return Snapshot(partials=found.select(wanted), epochs={"0": self.committed})

    def extent(self, name: str) -> tuple[int, int] | None:
        parts = self._parts.get(name)
        if not parts:
            return None
        return min(int(p.bucket.min()) for p in parts), max(int(p.bucket.max()) for p in parts)


class SlowReader(Reader):
    """Reads in the loop itself, some turns after it was asked and some before it answers."""

    turns = 3

    async def in_thread(self, call: Callable[[], T]) -> T:
        await turn(self.turns)
        answer = call()
        await turn(self.turns)
        return answer


class Page:
    """A viewer that keeps up the state of its dashboard as the browser does."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.events: list[str] = []
        self.state: dict[str, Any] = {}
        self.version = -1
        self.epoch = ""
        self.blocked = False
        self.closed: tuple[int, str] | None = None
        self.watched: Range | None = None

    def take(self, snapshot: bytes) -> bool:
        self._replace(msgspec.json.decode(snapshot))
        return not self.blocked

    def send(self, frame: bytes) -> bool:
        if self.blocked:
            return False
        self.frames.append(frame)
        join_ref, ref, topic, event, payload = msgspec.json.decode(frame)
        assert (join_ref, ref, topic) == (None, None, "dashboard:overview")
        self.events.append(event)
        if event == "snapshot":
            self._replace(payload)
        elif event == "diff":
            assert (payload["from"], payload["version"]) == (self.version, self.version + 1)
            assert payload["epoch"] == self.epoch
            self.version = payload["version"]
            self.state = apply(self.state, payload["patch"])
        return True

    def _replace(self, snapshot: Mapping[str, Any]) -> None:
        self.state, self.version, self.epoch = snapshot["state"], snapshot["version"], snapshot["epoch"]

    def ready(self) -> bool:
        return not self.blocked

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    @property
    def count(self) -> int:
        found: int = self.state["totals"][EVENTS]["count"]
        return found


class Live:
    """A hub over an epoch book and a store, without a pipeline: what is pushed has been counted."""

    def __init__(self, **options: Any) -> None:
        self.now_s = float(NOW_S)
        self.metrics = metrics_of(from_mapping({}))
        self.book = EpochBook(shard="0", committed_seq=0, next_number=1, now=0.0)
        self.store = Rows()
        self.ledger = Ledger()
        self.samples = 0
        self.options = options
        self.tail = Tail()
        rows: Any = self.store
        self.reader = SlowReader(store=rows, book=self.book, metrics=self.metrics, settle=lambda: None)
        self.hub = self.make_hub()

    def make_hub(self) -> Hub:
        values = {"rate_hz": AT_ONCE_HZ, "send_deadline_s": 60.0, "quiet_s": 1e9, **self.options}
        return Hub(
            reader=self.reader,
            ledger=self.ledger,
            about=About(started_ms=1, demo=None, epoch="e"),
            now_s=lambda: self.now_s,
            pulse=Pulse(ledger=self.ledger, stages=self._sampled, notes=dict),
            tail=self.tail,
            **values,
        )

    def _sampled(self) -> list[Any]:
        self.samples += 1
        return []

    def push(self, *events: Mapping[str, Any]) -> None:
        """Count events, as the aggregator does: first booked, then observed."""
        seq = self.book.open.last_seq + 1
        number = self.book.admit(seq, len(events))
        self.ledger.of("http").received += len(events)
        found = compute(
            self.metrics[EVENTS], batch(events, seq=seq, epoch=number), SeriesLimit(10_000), now_s=0.0
        )
        assert found is not None
        partials = {EVENTS: found}
        settled = {"http": {"stored": len(events)}}
        self.book.add(Contribution(epoch=number, settled=settled, partials=partials))
        self.hub.observe(partials)

    def commit(self) -> None:
        """Bring everything into the store."""
        self.book.close(0.0)
        while (epoch := self.book.ready()) is not None:
            self.store.hold(epoch)
            self.ledger.settle(epoch.settled)
            self.book.mark_committed(epoch.number)

    async def join(self, page: Page | None = None, hub: Hub | None = None, **params: Any) -> Page:
        page = page or Page()
        page.watched = await (hub or self.hub).join(page, params or {"range": "5m"}, page.take)
        return page

    def leave(self, page: Page) -> None:
        assert page.watched is not None
        self.hub.leave(page, page.watched)

    async def fresh_state(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What a page is shown that is opened now, on a hub that has seen nothing yet."""
        return (await self.join(hub=self.make_hub(), **params)).state


@asynccontextmanager
async def live(**options: Any) -> AsyncIterator[Live]:
    found = Live(**options)
    running = asyncio.create_task(found.hub.run())
    try:
        yield found
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        found.reader.close()


async def turn(turns: int = 30) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def shown(start_ms: int, end_ms: int) -> dict[str, Any]:
    return {"from": start_ms, "to": end_ms}


def lasting(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in TICKING}


# one encoding for all


async def test_a_diff_is_encoded_once_for_all_who_watch_the_same() -> None:
    async with live() as running:
        pages = [await running.join() for _ in range(50)]
        first = len(pages[0].frames)
        encoded = running.hub.encoded
        running.push(tick("a", value=1))
        await turn()
        sent = pages[0].frames[first:]
        assert len(sent) == running.hub.encoded - encoded > 0
        for page in pages:
            assert page.count == 1
            assert [id(frame) for frame in page.frames[-len(sent) :]] == [id(frame) for frame in sent]


async def test_viewers_that_come_at_once_share_one_read_of_the_store() -> None:
    async with live() as running:
        running.push(tick("a"))
        running.commit()
        pages = await asyncio.gather(*(running.join() for _ in range(5)))
        assert sorted(running.store.reads) == [EVENTS, LATENCY]
        assert [page.count for page in pages] == [1] * 5
        assert (running.hub.viewers, running.hub.joins) == (5, 5)


async def test_more_viewers_than_a_slice_all_get_it_and_the_loop_goes_on_between() -> None:
    async with live() as running:
        pages = [await running.join() for _ in range(2 * hub_module.SLICE + 1)]
        turns_while_sending = 0
        running.push(tick("a"))
        while pages[-1].count == 0 or any(page.count == 0 for page in pages):
            await asyncio.sleep(0)
            turns_while_sending += any(page.count for page in pages) and not all(p.count for p in pages)
        assert turns_while_sending >= 1


# nothing for nobody


async def test_nothing_runs_while_nobody_looks() -> None:
    async with live() as running:
        running.push(tick("a"))
        await turn()
        assert (running.samples, running.hub.encoded, running.store.reads) == (0, 0, [])
        page = await running.join()
        await turn()
        assert running.samples > 0
        running.leave(page)
        await turn()
        samples, encoded = running.samples, running.hub.encoded
        running.push(tick("a"))
        await turn()
        assert (running.samples, running.hub.encoded) == (samples, encoded)
        assert running.hub.viewers == 0


async def test_who_comes_after_everybody_has_gone_sees_what_happened_in_between() -> None:
    async with live() as running:
        page = await running.join()
        running.leave(page)
        running.push(tick("a"), tick("a"))
        assert (await running.join()).count == 2


async def test_a_page_that_nothing_happens_on_is_left_alone() -> None:
    async with live(quiet_s=1e9) as running:
        page = await running.join()
        await turn()
        sent = len(page.frames)
        await turn()
        assert len(page.frames) == sent


async def test_a_quiet_page_is_told_now_and_then_that_it_is_not_dead() -> None:
    async with live(quiet_s=0.0) as running:
        page = await running.join()
        await turn()
        running.now_s += 0.5
        await turn()
        assert len(page.frames) > 10
        assert page.state["as_of"] == int(running.now_s * 1000)


# viewers that are behind


async def test_a_slow_viewer_gets_the_newest_state_not_a_backlog() -> None:
    async with live() as running:
        slow, quick = await running.join(), await running.join()
        slow.blocked = True
        for sent in range(1, 11):
            running.push(tick("a", value=sent))
            await turn()
            assert quick.count == sent
        assert (slow.frames == [], running.hub.behind) == (True, 1)
        assert running.hub.skipped >= 10
        slow.blocked = False
        await turn()
        assert slow.events[0] == "snapshot"
        assert (slow.version, slow.state) == (quick.version, quick.state)
        assert running.hub.behind == 0
        running.push(tick("a"))
        await turn()
        assert slow.count == quick.count == 11
        assert slow.events[1] == "diff"


async def test_a_viewer_that_cannot_take_its_first_snapshot_gets_a_newer_one_later() -> None:
    async with live() as running:
        page = Page()
        page.blocked = True
        await running.join(page)
        running.push(tick("a"))
        await turn()
        assert running.hub.behind == 1
        page.blocked = False
        await turn()
        assert (page.events[0], page.count) == ("snapshot", 1)


async def test_a_viewer_that_stays_behind_is_closed_at_the_deadline_and_nobody_else() -> None:
    async with live(send_deadline_s=0.0) as running:
        slow, quick = await running.join(), await running.join()
        slow.blocked = True
        running.push(tick("a"))
        await turn()
        assert (slow.closed, quick.closed) == ((1013, "too slow"), None)
        assert running.hub.viewers == 1
        running.leave(slow)  # as the socket does when its connection has ended
        running.push(tick("a"))
        await turn()
        assert (quick.count, running.hub.viewers) == (2, 1)


async def test_a_viewer_within_the_deadline_is_not_closed() -> None:
    async with live(send_deadline_s=60.0) as running:
        slow = await running.join()
        slow.blocked = True
        for _ in range(5):
            running.push(tick("a"))
            await turn()
        assert (slow.closed, running.hub.viewers) == (None, 1)


async def test_time_in_which_the_process_stood_still_is_not_held_against_a_viewer() -> None:
    async with live(send_deadline_s=1.0) as running:
        slow = await running.join()
        slow.blocked = True
        running.push(tick("a"))
        await turn()
        assert running.hub.behind == 1
        stand_still()
        await turn()
        assert (slow.closed, running.hub.viewers) == (None, 1)


async def test_a_viewer_that_leaves_while_a_diff_goes_out_is_neither_sent_nor_missed() -> None:
    async with live() as running:
        pages = [await running.join() for _ in range(hub_module.SLICE + 50)]
        running.push(tick("a"))
        gone: list[Page] = []
        while not gone:
            await asyncio.sleep(0)
            waiting = [page for page in pages if not page.count]
            if len(waiting) < len(pages):
                gone = waiting
                for page in gone:
                    running.leave(page)
        await turn()
        assert gone
        assert not any(page.count for page in gone)
        assert running.hub.behind == 0


# joins


async def test_a_page_that_was_opened_before_the_first_event_learns_the_extent_of_the_data() -> None:
    async with live() as running:
        page = await running.join()
        assert page.state["extent"] == None  # noqa: E711  mypy would take it for None ever after
        running.push(tick("a", second=-30), tick("a", second=5))
        await turn()
        assert page.state["extent"] == {"from": (NOW_S - 30) * 1000, "to": (NOW_S + 6) * 1000}
        running.push(tick("a", second=-5000))
        await turn()
        assert page.state["extent"]["from"] == (NOW_S - 5000) * 1000


async def test_a_join_that_failed_leaves_nothing_that_would_be_counted_twice() -> None:
    async with live() as running:
        running.push(tick("a"), tick("a"))
        running.store.failing = {LATENCY}
        with pytest.raises(StoreError):
            await running.join()
        running.store.failing = set()
        assert (await running.join()).count == 2
        assert running.hub.viewers == 1


async def test_a_join_that_waited_for_one_that_failed_is_answered_all_the_same() -> None:
    async with live() as running:
        running.push(tick("a"), tick("a"))
        running.store.failing = {LATENCY}
        first = asyncio.create_task(running.join())
        second = asyncio.create_task(running.join())
        with pytest.raises(StoreError):
            await first
        running.store.failing = set()
        assert (await second).count == 2


async def test_a_join_that_is_cancelled_leaves_no_viewer() -> None:
    async with live() as running:
        joining = asyncio.create_task(running.join())
        await turn(2)
        joining.cancel()
        with suppress(asyncio.CancelledError):
            await joining
        await turn()
        assert (running.hub.viewers, running.samples) == (0, 0)
        running.push(tick("a"))
        assert (await running.join()).count == 1


async def test_a_view_that_fails_lets_its_viewers_come_back_and_does_not_harm_the_pipeline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    async with live() as running:
        page = await running.join()
        with monkeypatch.context() as broken_for_a_while:
            broken_for_a_while.setattr(View, "absorb", broken)
            for _ in range(2 * hub_module.MOST_PARTS):
                running.push(tick("a"))
            await turn()
        assert page.closed == (1011, "the view failed; connect again")
        assert running.hub.viewers == 0
        running.leave(page)
        assert (await running.join()).count == 2 * hub_module.MOST_PARTS


@pytest.mark.parametrize(
    "params",
    [
        {"range": "2m"},
        {"range": None},
        {"range": ["5m"]},
        {"range": {"5m": 1}},
        {"from": 1},
        {"to": 1},
        {"from": "1", "to": 2},
        {"from": 1.0, "to": 2.0},
        {"from": True, "to": 5},
        {"from": 2, "to": 1},
        {"from": 2, "to": 2},
        {"from": 0, "to": 101 * 365 * 86_400_000},
        {"from": 10**30, "to": 10**30 + 1},
        {"from": -(10**30), "to": -(10**30) + 1},
        {"range": "5m", "type": ""},
        {"range": "5m", "type": 1},
        {"range": "5m", "type": "x" * 5000},
    ],
)
async def test_what_cannot_be_shown_is_refused_with_what_can(params: dict[str, Any]) -> None:
    async with live() as running:
        with pytest.raises(JoinRefused, match="expected"):
            await running.join(**params)
        assert running.hub.viewers == 0


@pytest.mark.parametrize(
    "params",
    [
        {"from": -8_640_000_000_000_000, "to": -8_640_000_000_000_000 + 1},
        {"from": 8_640_000_000_000_000 - 1, "to": 8_640_000_000_000_000},
        {"from": 0, "to": 100 * 365 * 86_400_000},
    ],
)
async def test_the_furthest_ranges_that_are_allowed_can_be_shown(params: dict[str, Any]) -> None:
    async with live() as running:
        assert (await running.join(**params)).count == 0


async def test_there_are_only_so_many_different_views_at_once() -> None:
    async with live() as running:
        pages = [await running.join(**shown(0, 1000 * end)) for end in range(1, hub_module.MOST_CHANNELS + 1)]
        with pytest.raises(JoinRefused, match="too many"):
            await running.join()
        assert (await running.join(**shown(0, 1000))).count == 0
        running.leave(pages[-1])
        assert (await running.join()).count == 0


async def test_an_announcement_reaches_every_viewer_of_every_view() -> None:
    async with live() as running:
        pages = [await running.join(**params) for params in RANGES]
        running.hub.announce("draining", {"retry_ms": 1000})
        assert [page.events[-1] for page in pages] == ["draining"] * len(pages)


# a page shows exactly what a page shows that is opened now

STEPS = {"push": 6, "turn": 6, "join": 3, "leave": 1, "block": 1, "unblock": 1, "commit": 1, "later": 1}
MOST_PAGES = 4


@dataclass
class Open:
    """A page with what it was opened with, from the moment on at which it asked to join."""

    page: Page
    params: Mapping[str, Any]
    joining: asyncio.Task[Page]


async def walk(running: Live, chance: random.Random) -> list[Open]:
    """Do this and that at random, joins at the same time as what follows them; give the pages that are still open."""
    opened: list[Open] = []
    for step in chance.choices(list(STEPS), list(STEPS.values()), k=80):
        there = [one.page for one in opened if one.joining.done()]
        if step == "push":
            running.push(*(some_event(chance) for _ in range(chance.randint(1, 3))))
        elif step == "turn":
            await turn(chance.randint(1, 4))
        elif step == "commit":
            running.commit()
        elif step == "later":
            running.now_s += chance.randint(1, 40)
        elif step == "join" and len(opened) < MOST_PAGES:
            page, params = Page(), chance.choice(RANGES)
            opened.append(Open(page, params, asyncio.create_task(running.join(page, **params))))
        elif step == "leave" and there:
            gone = chance.choice(there)
            running.leave(gone)
            opened = [one for one in opened if one.page is not gone]
        elif step in {"block", "unblock"} and there:
            chance.choice(there).blocked = step == "block"
    await asyncio.gather(*(one.joining for one in opened))
    return opened


def some_event(chance: random.Random) -> Mapping[str, Any]:
    second = chance.choice([chance.randint(-5, 5), chance.randint(-1000, 300)])
    return tick(chance.choice("abcdefgh"), second, value=chance.choice([0.1, 1, -3, 1e9, 2.5]))


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_snapshot_and_diffs_end_in_exactly_the_state_of_a_fresh_join(seed: int) -> None:
    async def check() -> None:
        async with live() as running:
            opened = await walk(running, random.Random(seed))  # noqa: S311  no secret
            for one in opened:
                one.page.blocked = False
            await turn(20)
            for one in opened:
                assert lasting(one.page.state) == lasting(await running.fresh_state(one.params))

    asyncio.run(check())


async def test_types_that_are_equally_common_are_shown_alike_on_old_and_new_pages() -> None:
    async with live() as running:
        page = await running.join()
        running.push(tick("z", second=-5000))  # known to the old page alone, though not shown
        await turn()
        for kind in "azbcdefg":
            running.push(tick(kind))
            await turn()
        fresh = await running.fresh_state({"range": "5m"})
        assert set(page.state["type_series"]) == set("abcdef")
        assert list(fresh["type_series"]) == list("abcdef")
        assert list(fresh["types"]) == list("abcdefgz")
