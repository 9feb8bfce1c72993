"""Files, options and words that cannot be used: each ends the start with one line, exit code 2, and nothing half-made."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from command_line import Done, run
from streamgauge import cli


def say(capsys: pytest.CaptureFixture[str], *words: str) -> Done:
    """Run a command that starts nothing within this process, which is quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["streamgauge", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    said = capsys.readouterr()
    return Done(int(ended.value.code or 0), said.out, said.err)


@dataclass(frozen=True)
class Text:
    """One row: what stands in the file, and the words with which it is refused."""

    number: str
    text: str | bytes
    says: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.number} {str(self.text)[:50]!r}"


def refused(number: str, text: str | bytes, *says: str) -> Text:
    return Text(number, text, says)


TEXTS: Final = [
    refused("I-123", "port = 4000\n".encode("utf-16"), "not UTF-8 (byte 0)"),
    refused("I-123", "port = 4000\n".encode("utf-16-le"), "not valid TOML"),
    refused("I-123", b"\x7fELF\x02\x01\x01" + bytes(200), "not valid TOML"),
    refused("I-123", b'data = "\xff"', "not UTF-8 (byte 8)"),
    refused("I-123", "data = 'a'\rdata = 'b'\r", "not valid TOML"),
    refused("I-123", "data = 'a\0b'", "not valid TOML"),
    refused("I-124", "server:\n  port: 4000\n", "line 1", "not valid TOML"),
    refused("I-124", '!!python/object/apply:os.system ["id"]', "not valid TOML"),
    refused("I-124", "server.insecure = yes", "not valid TOML"),
    refused("I-124", "server.port = 012", "not valid TOML"),
    refused("I-124", "server.port = 1:30", "not valid TOML"),
    refused("I-124", '{"server": {"port": 1}}', "not valid TOML"),
    refused("I-125", "data = 'a'\ndata = 'b'\n", "line 2", "not valid TOML"),
    refused("I-125", "[server]\nport = 1\n[server]\n", "line 3"),
    refused("I-125", "server.port = 1\n[server]\nhost = 'a'", "line 2"),
    refused("I-125", "[server]\nport = 1\nport = 2\n", "line 3"),
    refused("I-125", f"server.port = {2**70}", "server.port", "64 bits"),
    refused("I-125", "server.port = " + "9" * 5000, "not valid TOML"),
    refused("I-125", "live.max_rate = inf", "live.max_rate", "from 0.1 to 60", "inf"),
    refused("I-125", "live.max_rate = nan", "live.max_rate", "from 0.1 to 60", "nan"),
    refused("I-125", "data = 2026-01-01", "data", "2026-01-01"),
    refused("I-125", "data = ['a']", "data", "a list of 1"),
    refused("I-125", "x = " + "[" * 50_000, "nested too deeply"),
    refused("I-126", "[store]\nretenton = '1d'", "store.retenton", "`retention`"),
    refused("I-126", "[server]\nprot = 1", "server.prot", "unknown option", "`port`"),
    refused("I-126", "port = 1", "port", "`server.port`"),
    refused("I-126", "[store]\nfsync = 'always'", "store.fsync", "`journal.fsync`"),
    refused("I-126", "[servr]\nport = 1", "servr", "`server`"),
    refused("I-126", "'' = 1", "unknown option"),
    refused("I-126", "'__proto__' = 1", "__proto__", "unknown option", "allowed here"),
    refused("I-126", "[[metrics]]\nname = 'x'", "metrics", "`metric`"),
    refused("I-126", "[metric]\nname = 'x'", "metric", "[[...]]"),
    refused("I-127", "server.port = 70000", "server.port", "from 0 to 65535", "70000"),
    refused("I-127", "server.port = -1", "server.port", "from 0 to 65535", "-1"),
    refused("I-127", "server.port = '80'", "server.port", "integer", '"80"'),
    refused("I-127", "server.port = 80.5", "server.port", "integer", "80.5"),
    refused("I-127", "server.port = true", "server.port", "integer", "true"),
    refused("I-127", "server = 4000", "server", "table", "4000"),
    refused("I-127", "server.host = ''", "server.host", "at least one character"),
    refused("I-127", "server.host = '0.0.0.0'", "server.host", "--insecure"),
    refused("I-127", "server.insecure = 'yes'", "server.insecure", "true or false"),
    refused("I-127", "journal.interval = '-5s'", "journal.interval", "duration", '"-5s"'),
    refused("I-127", "journal.interval = 5", "journal.interval", "duration", '"5s"'),
    refused("I-127", "journal.interval = '5'", "journal.interval", "duration", '"5s"'),
    refused("I-127", "journal.interval = '1e9d'", "journal.interval", "duration"),
    refused("I-127", "journal.interval = '\u0665s'", "journal.interval", "duration"),
    refused("I-127", "journal.interval = '0s'", "journal.interval", "from 1ms"),
    refused("I-127", "journal.interval = '9999999999999999999y'", "journal.interval", "duration"),
    refused("I-127", "journal.max_bytes = '-1'", "journal.max_bytes", "size"),
    refused("I-127", "journal.max_bytes = '5 GB of it'", "journal.max_bytes", "size"),
    refused("I-127", "journal.max_bytes = -1", "journal.max_bytes", "size", "-1"),
    refused("I-127", "journal.max_bytes = '1e400'", "journal.max_bytes", "size"),
    refused("I-127", "limits.body_bytes = '2GiB'", "limits.body_bytes", "1GiB"),
    refused("I-127", "limits.header_timeout = '2h'", "limits.header_timeout", "1h"),
    refused("I-127", "limits.depth = 0", "limits.depth", "from 1 to 256"),
    refused("I-127", "limits.body_bytes = '200MiB'", "limits.body_bytes", "limits.decoded_bytes"),
    refused(
        "I-127", "[pipeline]\nproducer = {min_demand = 10, max_demand = 10}", "min_demand", "max_demand (10)"
    ),
    refused("I-127", "pipeline.producer.buffer = 0", "pipeline.producer.buffer"),
    refused("I-127", "[store.retention]\n1s = '2d'\n1m = '1d'", "store.retention.1s", "store.retention.1m"),
    refused(
        "I-127",
        "[journal]\nsegment_bytes = '2GiB'\nmax_bytes = '1GiB'",
        "journal.segment_bytes",
        "journal.max_bytes",
    ),
    refused("I-127", "[events]\ntype = 'value'", "events.value", "events.type"),
    refused("I-127", "[events]\ntype = ''", "events.type", "1 to 128"),
    refused("I-128", "data = '~/data'", "data", "~"),
    refused("I-128", "data = ''", "data"),
    refused("I-128", "journal.path = '~'", "journal.path", "~"),
    refused("I-129", "store.url = 'postgresql://me:secret@db/x?y'\nserver.port = 70000", "server.port"),
    refused("I-129", "store.url = 'post gresql://me:secret@db/x'", "store.url", "***"),
    refused("I-131", "[transform]\nkeep = \"__import__('os').system('id')\"", "transform.keep"),
    refused("I-131", "[transform]\nkeep = '().__class__.__bases__'", "transform.keep"),
    refused("I-131", "[transform]\nkeep = \"read_text('/etc/passwd') = ''\"", "transform.keep"),
    refused("I-131", "[transform]\nkeep = '" + "(" * 3000 + "1" + ")" * 3000 + "'", "transform.keep"),
    refused("I-131", "[transform]\nkeep = 'value > '", "transform.keep"),
    refused("I-131", "[[metric]]\nname = 'm'\nvalue = 'repeat(a, 1000000000)'", "metric[0].value"),
    refused("I-131", "[[metric]]\nname = 'm'\nwhere = 'a; DROP TABLE events'", "metric[0].where"),
    refused("I-131", "[[metric]]\nname = 'Not A Name'", "metric[0].name"),
    refused("I-131", "[[metric]]\nname = 'events'", "metric[0].name", "events"),
    refused("I-131", "[[metric]]\nname = 'm'\n[[metric]]\nname = 'm'", "metric[1].name"),
    refused("I-131", "[[metric]]\nwhere = 'a > 1'", "metric[0].name", "is missing"),
    refused("I-131", "[[metric]]\nname = 'm'\naggregates = ['p101']", "metric[0].aggregates[0]", "p101"),
    refused("I-131", "[[metric]]\nname = 'm'\naggregates = []", "metric[0].aggregates"),
]


@pytest.mark.parametrize("given", TEXTS, ids=str)
def test_a_file_that_cannot_be_used_stops_the_start_with_one_line(
    given: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("mine.toml")
    file.write_bytes(given.text if isinstance(given.text, bytes) else given.text.encode())
    for command in ("check", "serve"):
        done = say(capsys, command, str(file))
        assert done.code == 2, done
        assert done.out == ""
        assert done.line.startswith("streamgauge: mine.toml")
        assert [word for word in given.says if word not in done.line] == [], done.line
        assert "secret" not in done.line
        assert len(done.line) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n",
        "\ufeffdata = 'x'\n",
        "data = 'x'\r\n[server]\r\nport = 0\r\n",
        "\n\n\t \n",
        "server.port = 0",
    ],
    ids=["empty", "a comment", "a byte order mark", "CRLF", "white space", "any free port"],
)
def test_a_file_that_says_little_is_good(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """I-123, I-127."""
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_bytes(text.encode())
    assert say(capsys, "check", "mine.toml").code == 0


def of_100_mb(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100_000_000)


PLACES: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "I-123 nothing": (lambda _: None, "there is no such file"),
    "I-123 a folder": (Path.mkdir, "is a folder"),
    "I-123 100 MB": (of_100_mb, "is larger than 1 MiB"),
    "I-123 a FIFO": (os.mkfifo, "is not a regular file"),
    "I-123 a device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "I-123 a link to nothing": (lambda path: path.symlink_to("nowhere"), "there is no such file"),
    "I-128 a link to itself": (lambda path: path.symlink_to(path), "symbolic links"),
}


@pytest.mark.parametrize(("make", "says"), PLACES.values(), ids=PLACES.keys())
def test_a_place_that_holds_no_file_is_refused_at_once(
    make: Callable[[Path], object],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "mine.toml")
    before = os.listdir(tmp_path)  # noqa: PTH208  (names are enough)
    done = say(capsys, "serve", "mine.toml")
    assert done.code == 2
    assert says in done.line
    assert os.listdir(tmp_path) == before  # noqa: PTH208


BECOME_NOBODY: Final = """
import contextlib, io, os, sys
from streamgauge import cli
words, sys.argv = sys.argv, ["streamgauge", "serve", "--port", "0", "--data", "/dev/null/data"]
with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
    cli.main()  # which imports all that others may perhaps not read
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
sys.argv = words
cli.main()
"""


def as_nobody(folder: Path, *words: str) -> Done:
    """Run a command as a user who owns nothing, since root may read and write everything."""
    command = [sys.executable, "-c", BECOME_NOBODY, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that others may look into."""
    folder = tmp_path_factory.mktemp("open")
    folder.chmod(0o755)
    return folder


def test_a_file_that_may_not_be_read_is_refused(open_folder: Path) -> None:
    """I-123."""
    file = open_folder / "mine.toml"
    file.write_text("")
    file.chmod(0o000)
    done = as_nobody(open_folder, "serve", "mine.toml", "--port", "0")
    assert done.code == 2
    assert "'mine.toml' is not readable" in done.line


def test_a_data_folder_that_may_not_be_written_is_refused(open_folder: Path) -> None:
    """I-128."""
    (open_folder / "data").mkdir()
    (open_folder / "data").chmod(0o555)
    open_folder.chmod(0o555)
    for data in ("data", "new"):
        done = as_nobody(open_folder, "serve", "--port", "0", "--data", data)
        assert done.code == 2
        assert f"cannot keep anything in {data}: Permission denied" in done.line
    assert list((open_folder / "data").iterdir()) == []
    assert not (open_folder / "new").exists()


DATA: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "I-128 a file": (Path.touch, "data"),
    "I-128 a link to itself": (lambda path: path.symlink_to(path), "data"),
    "I-128 a device": (lambda path: path.symlink_to("/dev/null"), "data"),
    "I-128 a kernel's folder": (lambda _: None, "/proc/streamgauge"),
    "I-128 a name that is too long": (lambda _: None, "x" * 300),
}


@pytest.mark.parametrize(("make", "data"), DATA.values(), ids=DATA.keys())
def test_a_data_folder_that_cannot_be_used_is_refused_and_left_as_it_is(
    make: Callable[[Path], object], data: str, tmp_path: Path
) -> None:
    make(tmp_path / "data")
    before = os.listdir(tmp_path)  # noqa: PTH208  (names are enough)
    done = run("serve", "--port", "0", "--data", data, folder=tmp_path)
    assert done.code == 2
    assert done.line.startswith("streamgauge: data: cannot keep anything in")
    assert data[:60] in done.line
    assert os.listdir(tmp_path) == before  # noqa: PTH208


def test_a_port_that_somebody_has_is_refused_and_nothing_is_kept_open(tmp_path: Path) -> None:
    """I-127."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), folder=tmp_path)
    assert done.code == 2
    assert f"server.port: cannot listen on 127.0.0.1:{port}" in done.line


WORDS: Final = {
    "I-127 port 70000": (["serve", "--port", "70000"], "server.port"),
    "I-127 port -1": (["serve", "--port", "-1"], "--port"),
    "I-127 port 0x10": (["serve", "--port", "0x10"], "--port"),
    "I-127 port \u0661": (["serve", "--port", "\u0661"], "--port"),
    "I-127 port of 5,000 digits": (["serve", "--port", "9" * 5000], "port"),
    "I-127 no port": (["serve", "--port", ""], "--port"),
    "I-127 a host without keys": (["serve", "--host", "192.0.2.1"], "--insecure"),
    "I-127 no host": (["serve", "--host", ""], "server.host"),
    "I-128 no data": (["serve", "--data", ""], "data"),
    "I-128 a home": (["serve", "--data", "~/x"], "data"),
    "I-133 an option twice removed": (["serve", "--dta", "x"], "--data"),
    "I-133 two files": (["serve", "a.toml", "b.toml"], "b.toml"),
    "I-133 no file": (["serve", ""], "serve"),
}


@pytest.mark.parametrize(("words", "says"), WORDS.values(), ids=WORDS.keys())
def test_words_that_cannot_be_used_are_refused_with_one_line(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = say(capsys, *words)
    assert done.code == 2
    assert says in done.line or words == ["serve", ""]
    assert len(done.line) < 1000
    assert list(tmp_path.iterdir()) == []
