"""Arrows point inward: who may import whom, and nobody in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import streamgauge

ROOT = Path(streamgauge.__file__).parent

# What a part may import of ours, besides itself. A part is a module, or a folder with all that is in it.
ALLOWED = {
    # contracts and what they are made of
    "errors": "",
    "columns": "",
    "durable": "",
    "backup": "configurations durable errors version",
    "in_place": "errors",
    "identity": "",
    "ledger": "",
    "journal": "errors",
    "aggregate": "",
    "pipeline": "",
    "event": "columns errors",
    "source": "event",
    "partials": "aggregate aggregates",
    "commit": "columns errors event partials",
    "audit": "columns partials",
    "incarnation": "",
    "store": "audit commit partials",
    "once": "identity",
    "claims": "commit errors event identity journal once",
    "channels": "errors",
    "epoch": "commit errors partials",
    "metric": "aggregate aggregates columns event metrics partials",
    "configurations": "durable",
    "ruleset": "events metric metrics transform",
    "term": "events incarnation metric ruleset stages transform",
    "terms": "epoch errors journal ruleset term",
    # implementations
    "aggregates": "aggregate",
    "events": "columns errors event",
    "journals": "durable errors in_place journal",
    "metrics": "aggregates columns errors event metric partials",
    "stores": "aggregate aggregates audit columns commit durable errors event identity partials store",
    "verification": "aggregates audit columns errors event events incarnation journal metric partials",
    "verify": "audit event metric verification",
    "stages": "aggregates columns commit dead_letters distribution epoch errors event metric metrics partials pipeline transform",
    "transform": "columns errors event events metrics",
    "dead_letters": "commit errors event transform",
    "sources": "channels distribution errors event events options source web",
    "client": "errors",
    "options": "units",
    "units": "",
    "version": "",
}
KNOW_EVERYBODY = {
    "__init__", "__main__", "app", "cli", "embedded", "holder", "opening", "serving", "settings", "tryout",
}  # fmt: skip


def part(name: str) -> str:
    return name.partition(".")[0]


def names() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


MODULES = names()


def imports_of(path: Path) -> set[str]:
    """Give which of our modules a file imports when it runs; imports for type checkers alone do not count."""
    found: set[str] = set()
    for node in running(ast.parse(path.read_text()).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if part(alias.name) == "streamgauge"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            module = node.module or ""
            if part(module) == "streamgauge":
                found |= {resolved(f"{module}.{alias.name}") for alias in node.names}
    return {name.removeprefix("streamgauge").removeprefix(".") or "__init__" for name in found}


def resolved(name: str) -> str:
    """Give the module that a name is in, or is."""
    return name if name.removeprefix("streamgauge.") in MODULES else name.rpartition(".")[0]


def running(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from running(ast.iter_child_nodes(node))


IMPORTS = {name: imports_of(path) for name, path in MODULES.items()}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_part_imports_only_what_it_may(name: str) -> None:
    inside = [module for module in IMPORTS if part(module) == name]
    assert inside, f"there is no {name} any more: take it out of the table"
    allowed = {name, *ALLOWED[name].split()}
    wrong = {
        f"{module} imports {one}" for module in inside for one in IMPORTS[module] if part(one) not in allowed
    }
    assert not wrong


def test_the_pipeline_could_be_a_library_of_its_own() -> None:
    assert all(
        part(one) == "pipeline"
        for module, found in IMPORTS.items()
        if part(module) == "pipeline"
        for one in found
    )


def test_only_the_outermost_modules_know_the_wiring() -> None:
    wiring = {"app", "cli", "embedded", "holder", "opening", "serving", "settings", "__init__", "__main__"}
    wrong = {
        f"{module} imports {one}"
        for module, found in IMPORTS.items()
        for one in found & wiring
        if module not in KNOW_EVERYBODY
    }
    assert not wrong


def test_implementations_are_chosen_in_one_place() -> None:
    """What is behind a contract is named by its own folder and by the wiring, and by nobody else."""
    for folder in ("stores", "journals"):
        named_by = {part(module) for module, found in IMPORTS.items() for one in found if part(one) == folder}
        assert named_by - {folder, "remote"} <= KNOW_EVERYBODY, (
            folder
        )  # remote asks the lock who owns a data folder


def test_nothing_imports_in_a_circle() -> None:
    try:
        order = list(TopologicalSorter(IMPORTS).static_order())
    except CycleError as circle:
        pytest.fail(f"imports in a circle: {' -> '.join(circle.args[1])}")
    assert len(order) >= len(MODULES)


def test_no_name_is_imported_that_is_not_there() -> None:
    unknown = {
        f"{module} imports {one}" for module, found in IMPORTS.items() for one in found if one not in MODULES
    }
    assert not unknown
