"""The list of mutations keeps up with the code, and what tries them tells a survivor from one that was noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutations import FAILED, PACKAGE, PASSED, ROOT, Mutation, MutationError, check_unchanged, examine, load

MUTATIONS = load()
ADD = "def add(one: int, other: int) -> int:\n    return one + other\n"
PRECISE = "from streamgauge.sums import add\n\n\ndef test_sum() -> None:\n    assert add(1, 2) == 3\n"
VAGUE = "from streamgauge.sums import add\n\n\ndef test_sum() -> None:\n    assert add(2, 2) == 4\n"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_a_mutation_fits_the_code_in_one_place_and_still_compiles(mutation: Mutation) -> None:
    text = (ROOT / PACKAGE / mutation.file).read_text()
    changed = mutation.applied_to(text)
    assert changed != text
    compile(changed, mutation.file, "exec")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_the_tests_that_a_mutation_names_are_there(mutation: Mutation) -> None:
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()


def test_there_are_at_least_ten_and_each_has_a_name_of_its_own() -> None:
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS) >= 10


def test_a_mutation_whose_text_is_gone_or_there_twice_is_told_with_the_file() -> None:
    mutation = multiplies("tests/test_sums.py::test_sum")
    for text, times in (("", 0), (ADD + ADD, 2)):
        with pytest.raises(MutationError, match=rf"stands {times} times in src/streamgauge/sums\.py"):
            mutation.applied_to(text)


def multiplies(*tests: str) -> Mutation:
    return Mutation(name="+ is *", file="sums.py", old="one + other", new="one * other", tests=tests)


def tree(root: Path, test: str) -> Path:
    """A small project with one function and one test."""
    for name, text in {
        "src/streamgauge/__init__.py": "",
        "src/streamgauge/sums.py": ADD,
        "tests/test_sums.py": test,
        "pyproject.toml": "",
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_a_mutation_is_noticed_where_its_test_fails_and_survives_where_it_passes(tmp_path: Path) -> None:
    mutation = multiplies("tests/test_sums.py::test_sum")
    precise, vague = tree(tmp_path / "precise", PRECISE), tree(tmp_path / "vague", VAGUE)
    assert check_unchanged(precise, [mutation]).code == PASSED
    noticed, survived = examine(precise, mutation), examine(vague, mutation)
    assert (noticed.code, survived.code) == (FAILED, PASSED)
    assert noticed.failed[0].startswith("tests/test_sums.py::test_sum - assert 2 == 3")
    assert survived.failed == []
    assert (precise / "src/streamgauge/sums.py").read_text() == ADD


def test_a_test_that_fails_anyway_or_is_not_there_notices_nothing(tmp_path: Path) -> None:
    wrong = tree(tmp_path / "wrong", PRECISE.replace("== 3", "== 4"))
    with pytest.raises(MutationError, match="fail without any mutation"):
        check_unchanged(wrong, [multiplies("tests/test_sums.py::test_sum")])
    with pytest.raises(MutationError, match="could not run"):
        examine(wrong, multiplies("tests/test_sums.py::test_nothing"))
