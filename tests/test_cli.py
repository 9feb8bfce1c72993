"""The commands as a user meets them: what they print, where, and with which exit code they end."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Done, run
from server_process import ServerProcess
from streamgauge import Streamgauge, cli
from streamgauge.version import __version__

COMMANDS = ("serve", "demo", "replay", "query", "check", "reload", "backup", "restore", "verify")
EVENTS = b'{"type":"a","value":1}\n{"type":"a","value":2}\n{"type":"b","value":-4}\n'
BY_TYPE = "SELECT type, sum(value) AS total FROM events GROUP BY type ORDER BY type"

StartServer = Callable[..., ServerProcess]


def say(capsys: pytest.CaptureFixture[str], *words: str) -> Done:
    """Run a command that starts nothing within this process, which is quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["streamgauge", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    said = capsys.readouterr()
    return Done(int(ended.value.code or 0), said.out, said.err)


def in_terminal(*words: str, folder: Path) -> str:
    """Run a command whose output is a terminal, and give what it wrote there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "streamgauge", *words], cwd=folder, stdout=theirs, stderr=subprocess.PIPE
    ):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal says that the other side has gone
            while piece := os.read(ours, 4096):
                shown += piece
    os.close(ours)
    return shown.decode()


@pytest.fixture
def stored(start_server: StartServer, tmp_path: Path) -> Path:
    """A folder whose subfolder `data` holds three events that nobody serves any more."""
    server = start_server()
    assert server.post(EVENTS).status_code == 202
    assert server.stop() == 0
    return tmp_path


class TestServe:
    def test_it_says_where_it_listens_where_its_data_is_and_what_to_try(
        self, start_server: StartServer, tmp_path: Path
    ) -> None:
        server = start_server()
        text = "\n".join(server.greeting)
        assert f"dashboard  {server.url}" in text
        assert f"data       {tmp_path / 'data'}" in text
        assert f"{server.url}/docs" in text
        assert server.client.get("/").status_code == 200
        assert server.client.get("/docs").status_code == 200
        assert f"streamgauge replay events.ndjson --url {server.url}" in text

    def test_the_line_to_try_in_its_greeting_is_accepted(self, start_server: StartServer) -> None:
        server = start_server()
        line = next(line for line in server.greeting if "curl" in line).strip().removeprefix("try ")
        done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
        assert json.loads(done.stdout) == {"accepted": 1}

    def test_it_starts_empty(self, start_server: StartServer) -> None:
        assert start_server().get("/api/ledger")["received"] == 0

    @pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
    def test_it_ends_in_order_and_without_noise(
        self, sign: signal.Signals, start_server: StartServer
    ) -> None:
        server = start_server()
        server.post(EVENTS)  # on a connection that stays open
        server.process.send_signal(sign)
        assert server.process.wait(30) == 0
        assert server.errors() == ""

    def test_what_was_accepted_just_before_its_end_is_kept(self, stored: Path) -> None:
        assert run("query", BY_TYPE, folder=stored).out.splitlines() == ["type,total", "a,3.0", "b,-4.0"]

    def test_a_port_in_use_is_one_line(self, start_server: StartServer, tmp_path: Path) -> None:
        port = start_server().url.rsplit(":", 1)[1]
        done = run("serve", "--port", port, "--data", "other", folder=tmp_path)
        assert done.code == 2
        assert f"127.0.0.1:{port}" in done.line
        assert "choose another with --port" in done.line
        assert done.out == ""

    def test_a_data_folder_in_use_is_one_line(self, start_server: StartServer, tmp_path: Path) -> None:
        server = start_server()
        done = run("serve", "--port", "0", "--data", "data", folder=tmp_path)
        assert done.code == 2
        assert f"(it is process {server.process.pid}, at {server.url})" in done.line
        assert "data: another process is using this data folder" in done.line
        assert "--data" in done.line

    def test_a_data_folder_that_cannot_be_made_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        done = run("serve", "--port", "0", "--data", "file/data", folder=tmp_path)
        assert done.code == 2
        assert "file/data" in done.line
        assert "Not a directory" in done.line

    def test_a_taken_port_leaves_the_data_folder_free(
        self, start_server: StartServer, tmp_path: Path
    ) -> None:
        port = start_server().url.rsplit(":", 1)[1]
        assert run("serve", "--port", port, "--data", "other", folder=tmp_path).code == 2
        assert start_server(data=tmp_path / "other").get("/readyz")["status"] == "ready"

    def test_the_command_line_comes_before_the_file(self, start_server: StartServer, tmp_path: Path) -> None:
        server = start_server(configuration='data = "elsewhere"\n[server]\nport = 1\n')
        assert not server.url.endswith(":1")
        assert (tmp_path / "data" / "lock").exists()
        assert not Path("elsewhere").exists()


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["serve", "--prot", "1"], ["--prot", "--port", "serve --help"]),
            (["serve", "--port", "many"], ["--port", "whole number", "'many'"]),
            (["serve", "--port", "99999"], ["server.port", "from 0 to 65535", "99999"]),
            (["serve", "--port"], ["--port", "requires an argument"]),
            (["serve", "--host", "0.0.0.0"], ["server.host", "0.0.0.0", "--insecure"]),  # noqa: S104  refused
            (["demo", "--host", "0.0.0.0"], ["server.host", "--insecure"]),  # noqa: S104  refused
            (["serve", "nowhere.toml"], ["nowhere.toml", "there is no such file"]),
            (["serv"], ["serv", "serve"]),
            (["demo", "shpo"], ["shpo", "shop"]),
            (["check"], ["CONFIG", "check --help"]),
            (["query"], ["SQL", "query --help"]),
            (["replay"], ["FILE", "replay --help"]),
            (["replay", "x", "--speed", "quick"], ["--speed", "a number", "'quick'"]),
            (["replay", "x", "--speed", "-1"], ["--speed", "0 or more", "-1"]),
            (["query", "SELECT 1", "--data", "nowhere"], ["nowhere", "--data", "--url"]),
            (["query", "SELECT 1", "--url", "ftp://here"], ["--url", "http://localhost:4000", "ftp://here"]),
            (["query", "SELECT 1", "--url", "localhost:99999"], ["--url", "localhost:99999"]),
            (["query", "SELECT 1", "--url", "localhost:1"], ["localhost:1", "running there"]),
            (["query", "DELETE FROM events"], ["expected a SELECT", "DELETE"]),
            (["query", "SELECT 1; SELECT 2"], ["one SELECT", "2 statements"]),
            (["query", "SELECT * FROM people"], ["people", "events and rollups"]),
        ],
        ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
    )
    def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(
        self,
        words: list[str],
        said: list[str],
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        done = say(capsys, *words)
        assert done.code == 2
        assert done.out == ""
        assert done.line.startswith("streamgauge: ")
        assert [part for part in said if part not in done.line] == []
        assert list(tmp_path.iterdir()) == [], "a refused command leaves nothing behind"

    @pytest.mark.parametrize("command", ["serve", "check"])
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[pipeline]\naggregator = { max_btch = 1 }", ["pipeline.aggregator.max_btch", "`max_batch`"]),
            ("[server]\nport = 'x'", ["server.port", "integer from 0 to 65535", '"x"']),
            ("[journal]\nfsync = 'allways'", ["journal.fsync", "allways", '"always"']),
            ("[server]\nport 1", ["line 2", "not valid TOML"]),
            (
                "[[metric]]\nname = 'r'\nwhere = 'a === 3'",
                ['metric[0].where (metric "r", line 3): ', "a === 3", "allowed are", "`=`"],
            ),
            ("[[metric]]\nname = 'r'\nvalue = 'sin(a)'", ["metric[0].value", "sin(a)"]),
            (
                "[[metric]]\nname = 'a'\n\n[[metric]]\nvalue = 'b'\nname = 'rev'\nby = 'x'",
                ['metric[1].by (metric "rev", line 7): '],
            ),
            ("[[metric]]\nvalue = 'b'", ["metric[0].name (line 1): is missing"]),
            ("data = 'x'\n[journal]\n# how\nfsync = 3", ["journal.fsync (line 4): "]),
            ("server = { port = 'x' }", ["server.port: "]),
            ("[transform]\nkeep = 'value >'", ["transform.keep", "value >"]),
        ],
        ids=[
            "name",
            "type",
            "choice",
            "syntax",
            "where",
            "value",
            "second",
            "missing",
            "line",
            "inline",
            "keep",
        ],
    )
    def test_a_bad_configuration_is_one_line_with_file_key_found_and_allowed(
        self, command: str, text: str, said: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        file = tmp_path / "mine.toml"
        file.write_text(text)
        done = say(capsys, command, str(file))
        assert done.code == 2
        assert done.line.startswith(f"streamgauge: {file}: ")
        assert [part for part in said if part not in done.line] == []


class TestHelp:
    def test_the_version_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert say(capsys, "--version") == Done(0, f"streamgauge {__version__}\n", "")

    def test_the_version_is_told_before_anything_else_is_loaded(self) -> None:
        watched = [sys.executable, "-X", "importtime", "-m", "streamgauge", "--version"]
        done = subprocess.run(watched, capture_output=True, check=True, text=True)
        assert done.stdout == f"streamgauge {__version__}\n"
        loaded = set(re.findall(r"\| +(\S+)$", done.stderr, re.MULTILINE))
        assert "streamgauge.version" in loaded
        assert loaded.isdisjoint({"streamgauge.cli", "numpy", "duckdb", "typer"})

    def test_a_shell_can_complete_the_commands(self) -> None:
        words = {"COMP_WORDS": "streamgauge re", "COMP_CWORD": "1", "_STREAMGAUGE_COMPLETE": "complete_bash"}
        code = "import sys; sys.argv = ['streamgauge']; from streamgauge.__main__ import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | words, capture_output=True, check=True, text=True
        )
        assert done.stdout.split() == ["replay", "restore", "reload"]

    @pytest.mark.parametrize("command", ["", *COMMANDS])
    def test_help_has_an_example(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        done = say(capsys, *command.split(), "--help")
        assert done.code == 0
        assert re.search(rf"Example: streamgauge {command or 'demo'}\b", done.out)

    def test_help_lists_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        done = say(capsys, "--help")
        assert set(COMMANDS) <= set(re.findall(r"^│ (\w+) ", done.out, re.MULTILINE))

    def test_no_words_at_all_show_the_help_and_nothing_else(self, capsys: pytest.CaptureFixture[str]) -> None:
        done = say(capsys)
        assert "Usage" in done.out + done.err
        assert "streamgauge: " not in done.err


class TestCheck:
    def test_a_good_configuration_is_told_in_words(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        file = tmp_path / "good.toml"
        file.write_text(
            "[transform]\nkeep = 'value > 0'\n[[metric]]\nname = 'revenue'\nwhere = \"type = 'purchase'\"\n"
            "value = 'amount'\nby = ['country']\naggregates = ['sum', 'p95']\n"
        )
        done = say(capsys, "check", str(file))
        assert done.code == 0
        assert done.err == ""
        assert "good; 1 metric of its own" in done.out
        assert "revenue: sum, p95 of amount where type = 'purchase' by country" in done.out

    @pytest.mark.parametrize(
        ("section", "path", "problem"),
        [
            ("[[metric]]\nname = 'm'\nwhere = 'amount + 1'\n", "where", "this is a number, not a condition"),
            ("[[metric]]\nname = 'm'\nwhere = '5'\n", "where", "this is a number, not a condition"),
            ("[[metric]]\nname = 'm'\nvalue = 'amount > 5'\n", "value", "this is a condition, not a number"),
            ("[[metric]]\nname = 'm'\nvalue = 'TRUE'\n", "value", "this is a condition, not a number"),
            ("[[metric]]\nname = 'm'\nvalue = 'NOT paid'\n", "value", "this is a condition, not a number"),
            ("[transform]\nkeep = '- amount'\n", "transform.keep", "this is a number, not a condition"),
        ],
    )
    def test_a_number_where_a_condition_belongs_and_the_other_way_round_are_refused(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, section: str, path: str, problem: str
    ) -> None:
        file = tmp_path / "wrong.toml"
        file.write_text(section)
        done = say(capsys, "check", str(file))
        assert done.code == 2
        assert path in done.err
        assert problem in done.err

    def test_a_text_in_double_quotes_is_doubted(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        file = tmp_path / "doubtful.toml"
        file.write_text(
            "[[metric]]\nname = 'm'\nwhere = 'type = \"purchase\" OR amount > \"least amount\"'\n"
        )
        done = say(capsys, "check", str(file))
        assert done.code == 0
        assert "a text is written in single quotes: 'purchase'" in done.out
        assert done.out.count("doubtful: metric m: where: ") == 2

    def test_nothing_is_started_or_made(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("good.toml").write_text("data = 'mine'")
        assert say(capsys, "check", "good.toml").code == 0
        assert [path.name for path in tmp_path.iterdir()] == ["good.toml"]


class TestQuery:
    def test_a_folder_that_nobody_serves_is_read(self, stored: Path) -> None:
        done = run("query", BY_TYPE, "--data", "data", folder=stored)
        assert (done.code, done.out.split(), done.err) == (0, ["type,total", "a,3.0", "b,-4.0"], "")

    def test_the_folder_is_free_again_afterwards(self, stored: Path, start_server: StartServer) -> None:
        run("query", "SELECT 1", folder=stored)
        assert start_server().get("/api/ledger")["stored"] == 3

    def test_the_owner_of_the_folder_answers(self, start_server: StartServer, tmp_path: Path) -> None:
        server = start_server()
        server.post(EVENTS)
        server.wait_until_committed()
        done = run("query", BY_TYPE, folder=tmp_path)
        assert (done.code, done.out.split(), done.err) == (0, ["type,total", "a,3.0", "b,-4.0"], "")

    def test_a_server_is_asked_by_its_address(self, start_server: StartServer, tmp_path: Path) -> None:
        server = start_server()
        server.post(EVENTS)
        server.wait_until_committed()
        address = server.url.removeprefix("http://") + "/"
        done = run("query", BY_TYPE, "--url", address, folder=tmp_path)
        assert (done.code, done.out.split()) == (0, ["type,total", "a,3.0", "b,-4.0"])

    def test_the_configuration_says_where_the_data_is(self, stored: Path) -> None:
        (stored / "data").rename(stored / "moved")
        (stored / "mine.toml").write_text('data = "moved"')
        assert run("query", BY_TYPE, "--config", "mine.toml", folder=stored).code == 0

    def test_on_a_terminal_it_is_a_table(self, stored: Path) -> None:
        shown = in_terminal("query", BY_TYPE, folder=stored)
        assert "a,3.0" not in shown
        assert re.search(r"^ *a +3\.0", shown, re.MULTILINE)

    def test_on_a_terminal_csv_can_be_had(self, stored: Path) -> None:
        assert "a,3.0" in in_terminal("query", BY_TYPE, "--csv", folder=stored)

    def test_csv_can_be_read_by_a_program(self, stored: Path) -> None:
        done = run("query", "SELECT 'one, \"two\"' AS text, NULL AS nothing", folder=stored)
        assert list(csv.reader(done.out.splitlines())) == [["text", "nothing"], ['one, "two"', ""]]

    def test_what_the_store_refuses_is_a_message(self, stored: Path) -> None:
        done = run("query", "SELECT nowhere FROM events", folder=stored)
        assert done.code == 2
        assert '"nowhere" not found' in done.err
        assert "Traceback" not in done.err

    def test_what_the_server_refuses_is_a_message(self, start_server: StartServer, tmp_path: Path) -> None:
        url = start_server().url
        done = run("query", "SELECT nowhere FROM events", "--url", url, folder=tmp_path)
        assert done.code == 2
        assert url in done.err
        assert '"nowhere" not found' in done.err

    def test_rows_that_were_cut_off_are_told_of_beside_the_answer(self, stored: Path) -> None:
        (stored / "few.toml").write_text("[query]\nmax_rows = 2")
        done = run("query", "SELECT type FROM events", "--config", "few.toml", folder=stored)
        assert done.code == 0
        assert len(done.out.splitlines()) == 3
        assert "only the first 2 rows" in done.line

    def test_a_folder_without_data_is_left_as_it_is(self, tmp_path: Path) -> None:
        done = run("query", "SELECT 1", "--data", ".", folder=tmp_path)
        assert done.code == 2
        assert "there is no data here" in done.line
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_a_program_without_a_port_uses_says_so(self, tmp_path: Path) -> None:
        with Streamgauge(data=tmp_path / "data"):
            done = run("query", "SELECT 1", folder=tmp_path)
        assert done.code == 2
        assert "not listening" in done.line

    def test_a_server_of_another_kind_is_recognised(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            command = [sys.executable, "-m", "streamgauge", "query", "SELECT 1", "--url", f"127.0.0.1:{port}"]
            with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as asking:
                listening.settimeout(30)
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                _, said = asking.communicate(timeout=30)
        assert asking.returncode == 2
        assert "no Streamgauge server" in said.decode()
