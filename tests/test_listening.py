"""Whoever got through before a server ceased to listen is heard; nobody gets through after that."""

import socket
import sys

import pytest

from streamgauge.web.listening import accept_the_last


@pytest.fixture
def listening() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0))
    made.settimeout(0)
    return made


def test_those_who_wait_to_be_accepted_are_and_what_they_sent_can_be_read(listening: socket.socket) -> None:
    with listening:
        senders = [socket.create_connection(listening.getsockname()) for _ in range(3)]
        for sender in senders:
            sender.sendall(b"sent in full")
        accepted = accept_the_last(listening)
    assert [connection.recv(100) for connection in accepted] == [b"sent in full"] * 3
    for connection in (*senders, *accepted):
        connection.close()


def test_where_nobody_waits_there_is_nobody(listening: socket.socket) -> None:
    with listening:
        assert accept_the_last(listening) == []


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux can keep newcomers out before the socket is closed"
)
def test_after_that_nobody_gets_through(listening: socket.socket) -> None:
    with listening:
        accept_the_last(listening)
        with pytest.raises(TimeoutError):
            socket.create_connection(listening.getsockname(), timeout=0.2)
