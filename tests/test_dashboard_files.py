"""What the browser is given: vendored bytes, the import map and its hash, imports that lead somewhere."""

import base64
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
DASHBOARD = ROOT / "src" / "streamgauge" / "dashboard"
VENDOR = DASHBOARD / "vendor"
MODULES = sorted(path for path in DASHBOARD.rglob("*.js") if VENDOR not in path.parents)
IMPORT = re.compile(
    r"""^(?:import|export)\s[^;"'`]*?\bfrom\s*["']([^"'\n]+)["']   # import x from "name"
    |   ^import\s*["']([^"'\n]+)["']                              # import "name"
    |   \bimport\(\s*["']([^"'\n]+)["']\s*\)                      # import("name"), in types too""",
    re.MULTILINE | re.VERBOSE,
)


class Page(HTMLParser):
    """What index.html refers to, and what stands in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag == "script":
            self.scripts.append((found, ""))

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts and not self.scripts[-1][1]:
            self.scripts[-1] = (self.scripts[-1][0], data)

    @property
    def policy(self) -> str:
        return next(attrs["content"] for tag, attrs in self.elements if attrs.get("http-equiv"))

    @property
    def import_map(self) -> str:
        return next(text for attrs, text in self.scripts if attrs.get("type") == "importmap")

    @property
    def addresses(self) -> Iterator[str]:
        for tag, attrs in self.elements:
            if tag in {"script", "link"} and (address := attrs.get("src") or attrs.get("href")):
                yield address


@pytest.fixture(scope="module")
def page() -> Page:
    return Page((DASHBOARD / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def vendor_tool() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("vendor_tool", ROOT / "tools" / "vendor.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look up the module that they are made in
    sys.modules["vendor_tool"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["vendor_tool"]


def served_file(address: str) -> Path:
    """Give the file behind an address of the page; all but the page itself is below ./dashboard/."""
    assert address.startswith("./dashboard/"), address
    return DASHBOARD / address.removeprefix("./dashboard/")


def test_vendored_files_are_byte_for_byte_what_the_manifest_says() -> None:
    listed = {
        line["file"]: line["sha256"]
        for line in json.loads((VENDOR / "vendor.json").read_text(encoding="utf-8"))["files"]
    }
    present = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "vendor.json"
    }
    assert present == listed


def test_every_vendored_package_comes_with_its_licence_text() -> None:
    lines = json.loads((VENDOR / "vendor.json").read_text(encoding="utf-8"))["files"]
    for name in {line["name"] for line in lines}:
        texts = [
            VENDOR / line["file"]
            for line in lines
            if line["name"] == name and line["file"].startswith("licences/")
        ]
        assert len(texts) == 1, name
        assert re.search(
            "MIT|Permission is hereby granted|Apache License", texts[0].read_text(encoding="utf-8")
        ), name


def test_the_manifest_names_the_versions_that_the_tool_would_fetch(vendor_tool: ModuleType) -> None:
    wanted = {
        (package.name, package.version, file, f"npm:{package.name}@{package.version}/{source}")
        for package in vendor_tool.PACKAGES
        for source, file in package.files.items()
    }
    assert {
        (line.name, line.version, line.file, line.source) for line in vendor_tool.read_manifest()
    } == wanted


def test_the_tool_names_what_was_changed_lost_or_added(vendor_tool: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    shutil.copytree(VENDOR, folder)
    assert list(vendor_tool.problems(folder)) == []
    with (folder / "htm.mjs").open("a") as file:
        file.write(" ")
    (folder / "phoenix.mjs").unlink()
    (folder / "stranger.js").write_text("")
    told = list(vendor_tool.problems(folder))
    assert [problem.split(":")[0] for problem in told] == ["htm.mjs", "phoenix.mjs", "stranger.js"]


def test_the_policy_allows_our_own_files_and_exactly_this_import_map(page: Page) -> None:
    digest = base64.b64encode(hashlib.sha256(page.import_map.encode()).digest()).decode()
    directives = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    assert directives["default-src"] == "'self'"
    assert directives["script-src"] == f"'self' 'sha256-{digest}'"
    assert "unsafe" not in page.policy


def test_the_page_has_no_other_inline_script_and_no_inline_style(page: Page) -> None:
    inline = [attrs for attrs, text in page.scripts if text.strip()]
    assert [attrs.get("type") for attrs in inline] == ["importmap"]
    assert all(tag != "style" for tag, _ in page.elements)
    assert not [
        name for _, attrs in page.elements for name in attrs if name == "style" or name.startswith("on")
    ]


def test_the_page_refers_only_to_files_that_are_there(page: Page) -> None:
    addresses = [*page.addresses, *json.loads(page.import_map)["imports"].values()]
    assert len(addresses) > 10
    assert [address for address in addresses if not served_file(address).is_file()] == []


def imported_files(module: Path, imports: dict[str, str]) -> Iterator[Path]:
    """Give the file that each import of a module leads to, whether it is there or not."""
    for match in IMPORT.finditer(module.read_text(encoding="utf-8")):
        name = next(group for group in match.groups() if group)
        address = imports.get(name, f"./dashboard/not-in-the-import-map/{name}")
        yield (module.parent / name).resolve() if name.startswith(".") else served_file(address)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(DASHBOARD).as_posix())
def test_every_import_leads_to_a_file(module: Path, page: Page) -> None:
    imports = json.loads(page.import_map)["imports"]
    assert [str(path) for path in imported_files(module, imports) if not path.is_file()] == []


def test_what_the_overview_needs_is_fetched_at_once_and_not_one_import_after_the_other(page: Page) -> None:
    preloaded = {
        served_file(attrs["href"])
        for tag, attrs in page.elements
        if tag == "link" and attrs.get("rel") == "modulepreload"
    }
    entry = DASHBOARD / "main.js"
    later = {DASHBOARD / "elements" / name for name in ("sources_page.js", "dead_letters_page.js")}
    imports = json.loads(page.import_map)["imports"]
    assert later <= reached_from([entry], imports)
    needed = reached_from([entry], imports, leave_out=later) - {entry, DASHBOARD / "types.js"}
    assert preloaded >= needed
    assert not preloaded & later


def reached_from(
    modules: Iterable[Path], imports: dict[str, str], leave_out: Collection[Path] = ()
) -> set[Path]:
    """Give all modules that these lead to, themselves too."""
    reached: set[Path] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached and module not in leave_out:
            reached.add(module)
            waiting += imported_files(module, imports)
    return reached


def test_every_module_is_used_by_the_page(page: Page) -> None:
    imports = json.loads(page.import_map)["imports"]
    entries = [served_file(address) for address in page.addresses if address.endswith(".js")]
    assert set(MODULES) - reached_from(entries, imports) == set()


def test_vendored_modules_import_only_what_the_map_knows(page: Page) -> None:
    imports = json.loads(page.import_map)["imports"]
    # minified files have their imports anywhere in a line
    names = {
        name
        for path in VENDOR.glob("*.mjs")
        for name in re.findall(
            r"""(?:\bfrom|\bimport)\s*["']([^"']+)["']""", path.read_text(encoding="utf-8")
        )
    }
    assert {"preact", "@preact/signals-core"} <= names
    assert names <= set(imports)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(DASHBOARD).as_posix())
def test_what_a_sender_wrote_can_only_become_text(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
    )
    assert not re.search(r"""\sstyle=["'`]""", text), (
        "styles are set as objects: the policy forbids inline ones"
    )


@pytest.mark.skipif(shutil.which("node") is None, reason="the browser's logic is tested with node --test")
def test_the_browser_logic_passes_its_own_tests() -> None:
    files = sorted(str(path) for path in (ROOT / "tests" / "js").glob("*.test.mjs"))
    done = subprocess.run(["node", "--test", *files], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"^# tests [1-9]", done.stdout, re.MULTILINE)
