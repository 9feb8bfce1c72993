"""The client's pure parts: what is held and cut into batches, what an answer means, how long to wait."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.client.answers import (
    LONGEST_RETRY_AFTER_S,
    LONGEST_WAIT_S,
    Again,
    Never,
    Receipt,
    judge,
    seconds_of,
    wait_s,
)
from streamgauge.client.buffer import Batch, Buffer

NOW_S = 1_790_000_000.0
LINES = st.lists(st.binary(min_size=1, max_size=12), max_size=8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), LINES),
        st.tuples(st.just("take"), st.booleans()),
        st.tuples(st.just("settle"), st.none()),
        st.tuples(st.just("pass"), st.floats(0, 3)),
    ),
    max_size=40,
)


def make(**more: Any) -> Buffer:
    choices: dict[str, Any] = {
        "batch_events": 3, "batch_bytes": 20, "linger_s": 1.0, "most_events": 8, "most_bytes": 60, **more
    }  # fmt: skip
    return Buffer(**choices)


class TestBuffer:
    @given(STEPS)
    def test_every_event_that_is_taken_leaves_once_in_order_within_every_bound(
        self, steps: list[Any]
    ) -> None:
        buffer, now = make(), 0.0
        waiting: deque[tuple[float, bytes]] = deque()
        under_way: deque[Batch] = deque()
        keys = set()
        for step, value in steps:
            if step == "put":
                count = buffer.put(value, now)
                waiting.extend((now, line) for line in value[:count])
                held = [line for _, line in waiting] + [line for batch in under_way for line in batch.lines]
                assert buffer.events == len(held) <= 8
                assert buffer.bytes == sum(map(len, held)) <= 60
                if count < len(value):
                    assert len(held) == 8 or sum(map(len, held)) + len(value[count]) > 60
            elif step == "take":
                due = waiting and (len(waiting) >= 3 or sum(len(line) for _, line in waiting) >= 20)
                late = bool(waiting) and now - waiting[0][0] >= 1.0
                batch = buffer.take(now, hurry=value)
                if due or late or (value and waiting):
                    assert batch is not None
                if batch is not None:
                    assert batch.lines == tuple(waiting.popleft()[1] for _ in batch.lines)
                    assert 1 <= len(batch.lines) <= 3
                    assert len(batch.body) <= 20 or len(batch.lines) == 1
                    assert batch.key not in keys
                    keys.add(batch.key)
                    under_way.append(batch)
            elif step == "settle" and under_way:
                buffer.settle(under_way.popleft())
            elif step == "pass":
                now += value
            assert (buffer.due_in(now) is None) == (not waiting)
        left = len(waiting)
        assert buffer.drop_waiting() == left
        for batch in under_way:
            buffer.settle(batch)
        assert (buffer.events, buffer.bytes) == (0, 0)
        assert buffer.pushed == buffer.taken == buffer.settled

    def test_a_few_events_are_due_when_the_first_has_lingered(self) -> None:
        buffer = make()
        buffer.put([b"a"], 10.0)
        buffer.put([b"b"], 10.9)
        assert buffer.due_in(10.25) == 0.75
        assert buffer.take(10.99) is None
        assert buffer.due_in(12.0) == 0.0
        batch = buffer.take(11.0)
        assert batch is not None
        assert batch.body == b"ab"

    def test_an_event_larger_than_a_batch_goes_alone(self) -> None:
        buffer = make()
        buffer.put([b"a", b"x" * 30, b"b"], 0.0)
        taken = [buffer.take(0.0, hurry=True) for _ in range(4)]
        assert [batch and batch.body for batch in taken] == [b"a", b"x" * 30, b"b", None]


class TestAnswers:
    @pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 507])
    def test_what_may_pass_is_sent_again(self, status: int) -> None:
        found = judge(status, "7", b'{"detail": "no room"}', NOW_S)
        assert found == Again(f"answered {status}: no room", status, 7.0)

    @pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 413, 415, 431, 501, 505])
    def test_what_will_never_succeed_is_not_sent_again(self, status: int) -> None:
        assert judge(status, "7", b"no\nway", NOW_S) == Never(f"answered {status}: no way", status)

    def test_a_receipt_is_final_whatever_it_says(self) -> None:
        found = judge(
            202, "", b'{"accepted": 1, "rejected": 1, "errors": [{"index": 1, "error": "bad"}]}', NOW_S
        )
        assert isinstance(found, Receipt)
        assert (found.accepted, found.rejected, found.errors[0].error) == (1, 1, "bad")
        assert judge(422, "", b'{"accepted": 0, "rejected": 2, "errors": []}', NOW_S) == Receipt(0, 2)

    def test_a_key_that_another_batch_has_used_is_final(self) -> None:
        found = judge(422, "", b'{"code": "idempotency_key_reused", "detail": "used before"}', NOW_S)
        assert found == Never("answered 422: used before", 422)

    def test_good_news_from_somebody_else_is_not_believed(self) -> None:
        assert isinstance(judge(200, "", b"<html>Welcome to the proxy</html>", NOW_S), Again)

    @given(st.integers(100, 599), st.text(max_size=30), st.binary(max_size=40))
    def test_any_answer_means_one_of_the_three(self, status: int, retry_after: str, text: bytes) -> None:
        found = judge(status, retry_after, text, NOW_S)
        assert isinstance(found, Receipt | Again | Never)
        if isinstance(found, Again):
            assert found.wait_s is None or 0 <= found.wait_s <= LONGEST_RETRY_AFTER_S


class TestWaiting:
    @given(st.integers(1, 10_000), st.floats(0, 1))
    def test_waits_double_up_to_half_a_minute_and_are_spread_over_their_upper_half(
        self, attempt: int, drawn: float
    ) -> None:
        whole = min(LONGEST_WAIT_S, 0.2 * 2 ** min(attempt - 1, 20))
        assert whole / 2 <= wait_s(attempt, None, lambda: drawn) <= whole

    @given(st.integers(1, 100), st.floats(0, 300), st.floats(0, 1))
    def test_the_server_is_never_asked_sooner_than_it_said(
        self, attempt: int, asked_s: float, drawn: float
    ) -> None:
        assert asked_s <= wait_s(attempt, asked_s, lambda: drawn) <= asked_s * 1.2

    def test_retry_after_may_be_a_date(self) -> None:
        date = format_datetime(datetime.fromtimestamp(NOW_S + 12, UTC), usegmt=True)
        assert seconds_of(date, NOW_S) == 12.0
        assert seconds_of(date, NOW_S + 60) == 0.0

    @pytest.mark.parametrize("text", ["", "soon", "-3", "1.5", "٣", "Tue, 99 Foo 2026 00:00:00 GMT"])
    def test_what_is_neither_says_nothing(self, text: str) -> None:
        assert seconds_of(text, NOW_S) is None

    def test_a_day_is_not_waited_for(self) -> None:
        assert seconds_of("86400", NOW_S) == LONGEST_RETRY_AFTER_S
