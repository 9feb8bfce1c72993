"""Publishes messages to a broker as fast as it takes them, over a plain socket: the broker should be the limit.

MQTT 3.1.1, section 3: CONNECT, PUBLISH, PUBACK, DISCONNECT. At QoS 1 it waits for the last PUBACK.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Final

from benchmarks.data import synthetic_lines
from benchmarks.plans import Published, PublishPlan
from benchmarks.programs.talk import hear, say

DISTINCT: Final = 500
TOGETHER: Final = 250
WINDOW: Final = 2000  # messages without PUBACK
IDS: Final = 60_000
PUBACK_BYTES: Final = 4
CONNECT: Final = bytes([0x10, 12 + 9]) + b"\0\4MQTT\x04\x02\0\0" + b"\0\x09publisher"
DISCONNECT: Final = b"\xe0\0"


def remaining_length(size: int) -> bytes:
    """Write a length as MQTT does: seven bits a byte."""
    written = bytearray()
    while True:
        size, low = divmod(size, 128)
        written.append(low | (0x80 if size else 0))
        if not size:
            return bytes(written)


def publish_packet(topic: bytes, payload: bytes, packet_id: int | None) -> bytes:
    """Write one PUBLISH; a packet id makes it QoS 1."""
    ident = b"" if packet_id is None else struct.pack("!H", packet_id)
    body = struct.pack("!H", len(topic)) + topic + ident + payload
    return bytes([0x30 if packet_id is None else 0x32]) + remaining_length(len(body)) + body


class Acknowledged:
    """Counts PUBACKs as they come, in a thread of its own."""

    def __init__(self, connection: socket.socket) -> None:
        self.count = 0
        self._connection, self._more = connection, threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        received = 0
        while part := self._connection.recv(65_536):
            received += len(part)
            with self._more:
                self.count = received // PUBACK_BYTES
                self._more.notify()

    def wait(self, least: int) -> None:
        with self._more:
            self._more.wait_for(lambda: self.count >= least, timeout=120)


def main() -> None:
    plan = hear(PublishPlan)
    topic = plan.topic.encode()
    lines = synthetic_lines(DISTINCT)
    with socket.create_connection(("127.0.0.1", plan.port), timeout=120) as connection:
        connection.sendall(CONNECT)
        if connection.recv(4)[3:] != b"\0":
            raise SystemExit("the broker refused the connection")
        acknowledged = Acknowledged(connection)
        started = time.monotonic()
        for first in range(0, plan.messages, TOGETHER):
            numbers = range(first, min(first + TOGETHER, plan.messages))
            packets = [
                publish_packet(topic, lines[n % DISTINCT], n % IDS + 1 if plan.qos else None) for n in numbers
            ]
            if plan.qos:
                acknowledged.wait(first + TOGETHER - WINDOW)
            connection.sendall(b"".join(packets))
        if plan.qos:
            acknowledged.wait(plan.messages)
        ended = time.monotonic()
        connection.sendall(DISCONNECT)
    say(Published(started=started, ended=ended, acknowledged=acknowledged.count))


if __name__ == "__main__":
    main()
