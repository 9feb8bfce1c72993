"""One connection to an MQTT broker, with acknowledgements by hand, in order, over the connection that brought them.

gmqtt speaks the protocol. It acknowledges by hand only through a task for each message, keeps packet ids to itself,
answers on whatever connection is there, and hands a QoS 2 message that is sent again over a second time. So its
handlers of QoS 1, QoS 2, PUBREL and reconnecting are replaced here, which is why its version is pinned. What lasts
beyond a connection is the `Session`. Reconnecting is for `mqtt`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import gmqtt
from gmqtt.mqtt.handler import MQTTConnectError

from streamgauge.errors import StreamgaugeError

CLOSED: Final = "the broker closed the connection"
MQTT_3_1_1: Final = 4  # how the protocol numbers its versions
MQTT_5: Final = 5
CONNECT_S: Final = 10.0
CLOSE_S: Final = 5.0
REFUSED: Final = 0x80  # reason codes from here on are refusals
TAKEN_OVER: Final = 0x8E
WAYS_OUT: Final = {
    1: 'the broker does not speak MQTT 5; set protocol = "3.1.1"',
    0x84: 'the broker does not speak MQTT 5; set protocol = "3.1.1"',
    TAKEN_OVER: "another client has the same client_id; give each server its own",
}


class BrokerLost(StreamgaugeError):
    """The broker cannot be reached, refuses us, or has gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the broker is and who we are to it. tls: None for a plain connection."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    client_id: str
    clean: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    version: int = MQTT_5
    receive_maximum: int = 500
    message_bytes: int = 2**20
    session_expiry_s: int = 7 * 86_400
    keep_alive_s: int = 30


@dataclass(slots=True)
class Delivery:
    """A message, until it is settled. taken: it is in the journal, or was rejected; it must not be counted again."""

    topic: str | bytes
    payload: bytes
    qos: int
    packet_id: int
    link: Link
    taken: bool = False
    _hash: int = 0

    def take(self) -> None:
        """Note that it is taken; of its payload only as much is kept as tells it from another."""
        self.taken, self._hash, self.payload = True, hash(self.payload), b""

    def is_same(self, topic: str | bytes, payload: bytes) -> bool:
        """Tell whether a message that the broker sends again is this one."""
        return topic == self.topic and (
            hash(payload) == self._hash if self.taken else payload == self.payload
        )


@dataclass(slots=True)
class Session:
    """What we and the broker both know beyond a connection: which packet ids are in use, at most 65,535.

    A message that the broker sends again (DUP) under an id that is held is the one that we have, unless it is plainly
    another: then the broker has let go of the first.
    """

    held: dict[int, Delivery] = field(default_factory=dict)

    def settle(self, delivery: Delivery) -> None:
        """Acknowledge a message that is in the journal."""
        if not delivery.qos:
            return
        delivery.take()
        self.acknowledge(delivery)

    def acknowledge(self, delivery: Delivery) -> None:
        """Send PUBACK or PUBREC for a message that is taken, over the connection that brought it last."""
        sent = delivery.link.acknowledge(delivery.qos, delivery.packet_id)
        if sent and delivery.qos == 1 and self.held.get(delivery.packet_id) is delivery:
            del self.held[delivery.packet_id]  # at QoS 2 the id is held until PUBREL

    def forget(self, deliveries: Iterable[Delivery]) -> None:
        """Let go of messages that were not taken: sent again, they are new."""
        for delivery in deliveries:
            if self.held.get(delivery.packet_id) is delivery:
                del self.held[delivery.packet_id]


class Link:
    """A connection. deliver: called with each message that is new; lost: set when the connection has ended."""

    def __init__(self, address: Address, session: Session, deliver: Callable[[Delivery], None]) -> None:
        self._address, self._session, self._deliver = address, session, deliver
        self.lost, self._gone = asyncio.Event(), asyncio.Event()
        self.reason = CLOSED
        self.resumed = False
        self._granted: asyncio.Future[tuple[int, ...]] | None = None
        self._client = self._make_client()

    def _make_client(self) -> Any:
        address = self._address
        client = gmqtt.Client(
            address.client_id,
            clean_session=address.clean,
            optimistic_acknowledgement=False,
            receive_maximum=address.receive_maximum,
            maximum_packet_size=address.message_bytes + 65_536,  # and the topic and properties
            session_expiry_interval=0 if address.clean else address.session_expiry_s,
        )
        if address.username is not None:
            client.set_auth_credentials(address.username, address.password)
        client.on_connect = self._connected
        client.on_message = self._take_at_most_once
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        handler = client._package_handler  # noqa: SLF001  see the module
        handler._reconnect_callback = self._reconnect  # noqa: SLF001
        handler._handle_qos_1_publish_packet = self._take_at_least_once  # noqa: SLF001
        handler._handle_qos_2_publish_packet = self._take_exactly_once  # noqa: SLF001
        handler._handle_pubrel_packet = self._release  # noqa: SLF001
        self._handler = handler
        return client

    async def open(self) -> None:
        """Connect; messages of a session that goes on come at once. Raises BrokerLost."""
        address = self._address
        connecting = asyncio.ensure_future(
            self._client.connect(
                address.host,
                address.port,
                ssl=address.tls,
                keepalive=address.keep_alive_s,
                version=address.version,
            )
        )
        try:
            await self._first(connecting)
        except (OSError, MQTTConnectError) as exc:  # ssl.SSLError is an OSError
            raise BrokerLost(_refusal(exc)) from exc

    async def subscribe(self, filters: Sequence[str], qos: int) -> list[str]:
        """Subscribe; give the filters that the broker refused. Raises BrokerLost.

        Retained messages come only with a subscription that is new to the session (MQTT 5).
        """
        self._granted = asyncio.get_running_loop().create_future()
        self._client.subscribe(
            [
                gmqtt.Subscription(one, qos=qos, retain_handling_options=int(self._address.version == MQTT_5))
                for one in filters
            ]
        )
        granted = await self._first(self._granted)
        return [one for one, code in zip(filters, granted, strict=False) if code >= REFUSED]

    async def _first(self, wanted: asyncio.Future[Any]) -> Any:
        """Wait for an answer; raises BrokerLost where the connection ends before, or it takes too long."""
        lost = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait([wanted, lost], timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
            if wanted.done():
                return wanted.result()
            if self._handler.has_error:
                self._handler.propagate_error()
            raise BrokerLost(self.reason if lost.done() else f"no answer within {CONNECT_S:g} s")
        finally:
            for waiting in (wanted, lost):
                waiting.cancel()

    def acknowledge(self, qos: int, packet_id: int) -> bool:
        """Send PUBACK or PUBREC, where the connection is still there; tell whether it is."""
        if self.lost.is_set():
            return False
        if qos == 1:
            self._handler._send_puback(packet_id)  # noqa: SLF001
        else:
            self._handler._send_pubrec(packet_id)  # noqa: SLF001
        return True

    def drop(self, reason: str) -> None:
        """End the connection at once; what is not acknowledged comes again."""
        self.reason = reason
        self.lost.set()

    async def close(self) -> None:
        """Say goodbye and close; the broker keeps the session."""
        self.lost.set()
        connection = self._client._connection  # noqa: SLF001
        if connection is None:
            return
        # closing a socket that still has something to read makes the system throw away what the broker has not read
        # yet, our last acknowledgements: so the broker is asked to close, and read to the end
        connection.send_disconnect()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._gone.wait()
        except TimeoutError:
            connection._transport.abort()  # noqa: SLF001
        with suppress(OSError):  # how the connection ended does not matter any more
            await self._client.disconnect()

    # what gmqtt calls

    async def _reconnect(self, *, delay: bool = False) -> None:  # noqa: ARG002  gmqtt says whether to wait
        self.lost.set()

    def _connected(self, _client: Any, session_present: int, _code: int, _properties: Any) -> None:
        self.resumed = bool(session_present)
        if not self.resumed:
            self._session.held.clear()

    def _disconnected(self, _client: Any, packet: Any, _error: Any = None) -> None:
        if isinstance(packet, bytes) and packet:  # MQTT 5 says why
            code = packet[0]
            self.reason = WAYS_OUT.get(code, f"{CLOSED} (reason 0x{code:02x})")
        self.lost.set()
        if not packet:
            self._gone.set()

    def _subscribed(self, _client: Any, _packet_id: int, granted: tuple[int, ...], _properties: Any) -> None:
        if self._granted is not None and not self._granted.done():
            self._granted.set_result(granted)

    def _take_at_most_once(
        self, _client: Any, topic: str | bytes, payload: bytes, _qos: int, _about: Any
    ) -> None:
        self._deliver(Delivery(topic, payload, 0, 0, self))

    def _take_at_least_once(self, packet_id: int, payload: bytes, topic: str | bytes, about: Any) -> None:
        self._take(1, packet_id, payload, topic, about)

    def _take_exactly_once(self, packet_id: int, payload: bytes, topic: str | bytes, about: Any) -> None:
        self._take(2, packet_id, payload, topic, about)

    def _take(self, qos: int, packet_id: int, payload: bytes, topic: str | bytes, about: Any) -> None:
        if self.lost.is_set():
            return
        held = self._session.held.get(packet_id)
        if held is None or not (about["dup"] and held.is_same(topic, payload)):
            delivery = Delivery(topic, payload, qos, packet_id, self)
            self._session.held[packet_id] = delivery
            self._deliver(delivery)
            return
        held.link = self
        if held.taken:
            self._session.acknowledge(held)

    def _release(self, _command: int, packet: bytes) -> None:
        packet_id = int.from_bytes(packet[:2], "big")
        self._session.held.pop(packet_id, None)
        self._handler._send_pubcomp(packet_id, 0)  # noqa: SLF001


def _refusal(error: Exception) -> str:
    """Say in a few words why there is no connection."""
    if isinstance(error, MQTTConnectError):
        code = error._code  # noqa: SLF001
        return WAYS_OUT.get(code, f"refused: {error.message.removeprefix('Connection Refused: ')}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the broker's certificate is not trusted: {error.verify_message}; ca_file names others to trust"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


__all__ = ["CLOSED", "Address", "BrokerLost", "Delivery", "Link", "Session"]
