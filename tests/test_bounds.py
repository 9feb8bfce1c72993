"""Whatever can queue up has a bound: of each queue it is known what that is, and a new one has to say so here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import streamgauge

ROOT: Final = Path(streamgauge.__file__).parent
QUEUES: Final = {"deque", "Queue", "SimpleQueue", "LifoQueue", "PriorityQueue"}
BOUNDS: Final = {"maxlen", "maxsize"}

# queues without a length of their own, and what keeps each short
BOUNDED_BY: Final = {
    "client/buffer.py: _lines": "the client's buffer_events and buffer_bytes: `push` waits, or drops and counts",
    "epoch.py: _epochs": "Committer.has_room: sources wait beyond MOST_OPEN_EPOCHS",
    "epoch.py: _kept": "readers, who have a deadline; each epoch leaves with the last reader from before it",
    "journals/writer.py: _queue": "requests under way, whose bodies share limits.bodies_bytes",
    "pipeline/inlet.py: mailbox": "demand: at most max_demand events are under way on a subscription",
    "pipeline/outlet.py: waiting": "demand: a stage is asked for what its consumers have asked for",
    "sources/mqtt.py: _waiting": "the receive maximum: the broker sends no more before it is acknowledged",
    "sources/room.py: _line": "callers: one for each push, and a connection reads on only when there is room",
    "stages/producer.py: _batches": "pipeline.producer.buffer: sources wait while it is full",
}
# what is worked out once, from nothing that a sender can choose
WORKED_OUT_ONCE: Final = {
    "web/documentation.py: documentation_page",
    "web/openapi.py: document",
    "web/openapi.py: schemas",
}


def unbounded(tree: ast.AST) -> Iterator[str]:
    """Give the names of what is made as a queue without a length."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and is_queue(node.value):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            yield target.attr if isinstance(target, ast.Attribute) else ast.unparse(target)


def is_queue(value: ast.expr | None) -> bool:
    if not isinstance(value, ast.Call) or name_of(value.func) not in QUEUES:
        return False
    return not any(keyword.arg in BOUNDS for keyword in value.keywords)


def name_of(called: ast.expr) -> str:
    if isinstance(called, ast.Subscript):
        return name_of(called.value)
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def cached_without_end(tree: ast.AST) -> Iterator[str]:
    """Give the names of functions that remember every answer."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if name_of(decorator) == "cache" or ast.unparse(decorator).endswith(
                    "lru_cache(maxsize=None)"
                ):
                    yield node.name


def found(look: object) -> set[str]:
    assert callable(look)
    return {
        f"{path.relative_to(ROOT)}: {name}"
        for path in ROOT.rglob("*.py")
        for name in look(ast.parse(path.read_text()))
    }


def test_every_queue_has_a_length_or_is_known_to_be_kept_short() -> None:
    assert found(unbounded) == set(BOUNDED_BY), "say in BOUNDED_BY what keeps it short, and test that"


def test_nothing_remembers_answers_for_ever() -> None:
    assert found(cached_without_end) == WORKED_OUT_ONCE, "give the cache a maxsize"


def test_a_queue_without_a_length_is_noticed() -> None:
    source = "class A:\n    def __init__(self):\n        self.a: deque[int] = deque()\n        self.b = deque(maxlen=3)\n"
    assert list(unbounded(ast.parse(source))) == ["a"]
    assert list(
        cached_without_end(ast.parse("@cache\ndef f(x): ...\n@lru_cache(maxsize=4)\ndef g(x): ..."))
    ) == ["f"]
