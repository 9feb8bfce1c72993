"""A real MQTT broker, mosquitto, as a process of its own, and messages published to it as its users do."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

START_S = 20.0
PUBLISH_S = 60.0


def find(name: str) -> str:
    """Give a program's path; Debian keeps the broker where users do not look."""
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    assert found is not None, f"no {name}; `make setup` installs it"
    return found


class Broker:
    """mosquitto on a free port with a folder of its own; what it holds outlives `stop`, and `kill` too where it is durable.

    That makes it slow: it writes everything down after each message.
    """

    def __init__(self, folder: Path, *lines: str, scheme: str = "mqtt", durable: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.scheme = folder, scheme
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._file = folder / "mosquitto.conf"
        self._file.write_text(
            "\n".join(
                [
                    "per_listener_settings false",
                    "user root",
                    "persistence true",
                    f"persistence_location {folder}/",
                    *(["autosave_on_changes true", "autosave_interval 1"] if durable else []),
                    "max_queued_messages 0",
                    f"listener {self.port} 127.0.0.1",
                    *(lines or ("allow_anonymous true",)),
                    "",
                ]
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "mosquitto.log").open("ab") as log:
            command = [find("mosquitto"), "-c", str(self._file)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"mosquitto does not listen: {self.log()}")

    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """End it in good order; it writes down what it holds."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_S)
            self._process = None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_S)
            self._process = None

    def publish(self, topic: str, *payloads: str | bytes, qos: int = 1, options: Iterable[str] = ()) -> None:
        """Publish messages; at QoS 1 and 2 the broker has them when this returns."""
        base = [find("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(self.port), "-q", str(qos), "-t", topic]
        encoded = [one.encode() if isinstance(one, str) else one for one in payloads]
        if len(encoded) > 1 and not any(b"\n" in one or not one for one in encoded):
            forms = [(["-l"], b"\n".join(encoded) + b"\n")]
        else:
            forms = [(["-s"], one) if one else (["-n"], b"") for one in encoded]
        for form, given in forms:
            done = subprocess.run(
                [*base, *options, *form], input=given, capture_output=True, timeout=PUBLISH_S, check=False
            )
            assert done.returncode == 0, done.stderr.decode()
