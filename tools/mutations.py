"""Break the code on purpose, in one place at a time, and see that a test notices each time.

    python tools/mutations.py            try every mutation of mutations.toml; ends with 1 where no test noticed one
    python tools/mutations.py fsync      only those with a word in their name

Nothing is changed here: each mutation is made in a copy, in a folder for the while, and the tests run there. They
first run on a copy without any, where all of them must pass.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
LIST: Final = Path(__file__).with_suffix(".toml")
PACKAGE: Final = Path("src/streamgauge")
COPIED: Final = ("src", "tests", "pyproject.toml")
PATIENCE_S: Final = 120.0
PASSED, FAILED = 0, 1  # pytest's exit codes; any other says that it could not run the tests


class MutationError(Exception):
    """A mutation cannot be tried: it does not fit the code any more, or its tests do not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One way to break the code; see mutations.toml."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied_to(self, text: str) -> str:
        """Give the text of the file with the mutation. Raises MutationError unless it fits in exactly one place."""
        found = text.count(self.old)
        if found != 1:
            raise MutationError(
                f"{self.name}: its old text stands {found} times in {PACKAGE / self.file}; once is wanted:"
                " bring tools/mutations.toml up to date"
            )
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Run:
    """What became of tests. failed: those that did, the first one with the reason; pytest stops there."""

    code: int
    failed: list[str]
    output: str
    seconds: float


def load(path: Path = LIST) -> list[Mutation]:
    """Read the list."""
    found = tomllib.loads(path.read_text())["mutation"]
    return [Mutation(**{**one, "tests": tuple(one["tests"])}) for one in found]


@contextmanager
def copied(root: Path) -> Iterator[Path]:
    """Give a copy of what the tests need, in a folder that is there for the while."""
    with tempfile.TemporaryDirectory(prefix="streamgauge-mutation-") as folder:
        for name in COPIED:
            source, target = root / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("node_modules", ".hypothesis"))
            else:
                shutil.copy2(source, target)
        yield Path(folder)


def run_tests(folder: Path, tests: Sequence[str]) -> Run:
    """Run tests of a copy on the code of that copy. Raises MutationError where they take longer than they may."""
    environment = {name: value for name, value in os.environ.items() if name != "STREAMGAUGE_SOAK"}
    environment["PYTHONPATH"] = str(folder / "src")
    environment["COLUMNS"] = "300"  # so that pytest tells reasons in full
    command = [sys.executable, "-m", "pytest", "-x", "-rfE", "-p", "no:cacheprovider", *tests]
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise MutationError(f"still running after {PATIENCE_S:g} s: {' '.join(tests)}") from None
    finally:
        if process.poll() is None:  # with the servers that it has started
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    failed = re.findall(r"^(?:FAILED|ERROR) (.*)$", output, re.MULTILINE)
    return Run(process.returncode, failed, output, time.monotonic() - started)


def examine(root: Path, mutation: Mutation) -> Run:
    """Run the tests of a mutation on a copy that has it. Raises MutationError where that cannot be done."""
    with copied(root) as folder:
        file = folder / PACKAGE / mutation.file
        file.write_text(mutation.applied_to(file.read_text()))
        for stale in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
            stale.unlink()
        run = run_tests(folder, mutation.tests)
    if run.code not in {PASSED, FAILED}:
        raise MutationError(f"{mutation.name}: pytest could not run its tests:\n{run.output}")
    return run


def check_unchanged(root: Path, mutations: Sequence[Mutation]) -> Run:
    """Run all named tests on a copy as it is, so that what fails later fails for the mutation. Raises MutationError."""
    with copied(root) as folder:
        code = "import streamgauge; print(streamgauge.__file__)"
        environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
        used = subprocess.run(
            [sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True
        ).stdout.strip()
        if not used.startswith(str(folder)):
            raise MutationError(f"the tests would run on {used} and not on the copy in {folder}")
        run = run_tests(folder, sorted({test for mutation in mutations for test in mutation.tests}))
    if run.code != PASSED:
        raise MutationError(f"the tests fail without any mutation:\n{run.output}")
    return run


def _told(run: Run) -> str:
    if not run.failed:
        return "SURVIVED: no test noticed it"
    test, _, reason = run.failed[0].partition(" - ")
    return f"{test}\n             {reason}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutations, print what noticed each; give 1 where something was not noticed or could not be tried."""
    parser = argparse.ArgumentParser(description="Break the code on purpose and see that a test notices.")
    parser.add_argument("word", nargs="?", default="", help="try only those with this in their name")
    chosen = parser.parse_args(arguments)
    mutations = [one for one in load() if chosen.word in one.name]
    if not mutations:
        parser.error(f"no mutation has {chosen.word!r} in its name; they stand in {LIST.name}")
    survived = 0
    try:
        unchanged = check_unchanged(ROOT, mutations)
        print(f"{len(mutations)} mutations; without any, their tests pass in {unchanged.seconds:.0f} s\n")
        for number, mutation in enumerate(mutations, 1):
            run = examine(ROOT, mutation)
            survived += run.code == PASSED
            print(f"{number:3}. {mutation.name}\n     {run.seconds:4.1f} s  {_told(run)}", flush=True)
    except MutationError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{len(mutations) - survived} noticed, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
