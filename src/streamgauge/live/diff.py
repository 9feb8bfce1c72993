"""What changed between two states of a dashboard, as few operations; the browser's twin is `dashboard/patch.js`.

A state is JSON: objects, arrays, strings, numbers, booleans, null. An operation is one of

    ["set", path, value]     create or replace; path is a list of keys of objects, empty for the whole state
    ["drop", path]           remove
    ["slide", path, {"drop": k, "set": [[i, v], ...], "append": [v, ...]}]
                             in an array: remove k from the front, then change places, then append
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Operation = list[Any]


def diff(before: dict[str, Any], after: dict[str, Any], shift: int = 0) -> list[Operation]:
    """Give the operations that turn `before` into `after`. shift: by how many places windows of time have moved on."""
    operations: list[Operation] = []
    _objects(before, after, shift, [], operations)
    return operations


def _objects(
    before: dict[str, Any], after: dict[str, Any], shift: int, path: list[str], operations: list[Operation]
) -> None:
    operations += [["drop", [*path, key]] for key in before if key not in after]
    for key, value in after.items():
        old = before.get(key, _ABSENT)
        if type(old) is dict and type(value) is dict:
            _objects(old, value, shift, [*path, key], operations)
        elif type(old) is list and type(value) is list:
            operations += _arrays(old, value, shift, [*path, key])
        elif not same(old, value):
            operations.append(["set", [*path, key], value])


_ABSENT = object()


def _arrays(old: list[Any], new: list[Any], shift: int, path: list[str]) -> list[Operation]:
    if same(old, new):
        return []
    kept = len(old) - shift
    if shift < 0 or kept < 0 or kept > len(new):
        return [["set", path, new]]
    changed = [[i, new[i]] for i in range(kept) if not same(old[i + shift], new[i])]
    if len(changed) * 2 > len(new):
        return [["set", path, new]]
    parts = {"drop": shift, "set": changed, "append": new[kept:]}
    return [["slide", path, {name: part for name, part in parts.items() if part}]]


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal, as JSON sees it: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if type(one) is list and type(other) is list:
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict and type(other) is dict:
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return bool(one == other)


def apply(state: dict[str, Any], operations: Sequence[Operation]) -> dict[str, Any]:
    """Give the state after the operations; the given one stays as it is."""
    for operation in operations:
        state = _apply(state, operation, operation[1])
    return state


def _apply(node: dict[str, Any], operation: Operation, path: Sequence[str]) -> dict[str, Any]:
    if not path:
        return dict(operation[2])
    key, *rest = path
    if rest:
        return {**node, key: _apply(node[key], operation, rest)}
    if operation[0] == "drop":
        return {name: value for name, value in node.items() if name != key}
    if operation[0] == "set":
        return {**node, key: operation[2]}
    parts = operation[2]
    array = node[key][parts.get("drop", 0) :]
    for place, value in parts.get("set", ()):
        array[place] = value
    return {**node, key: array + parts.get("append", [])}
