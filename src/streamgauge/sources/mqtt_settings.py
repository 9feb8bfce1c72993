"""From the options of an MQTT source to what it is run with. Raises OptionError for what does not go together."""

from __future__ import annotations

import os
import re
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from streamgauge.errors import OptionError
from streamgauge.event import FieldMapping
from streamgauge.options import MqttOptions
from streamgauge.sources.mqtt_client import MQTT_3_1_1, MQTT_5, Address
from streamgauge.sources.topics import TYPE_PART, TopicFields, TopicTemplate, example_of

PORT: Final = 1883
TLS_PORT: Final = 8883
TOPIC: Final = "topic"
PASSING_S: Final = 300  # a connection that breaks is back by then
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """A subscription.

    shown: the broker's URL without a password. example: a topic that is subscribed to. fields: what topics add to
    their events.
    """

    name: str
    shown: str
    example: str
    address: Address
    filters: Sequence[str]
    qos: int
    mapping: FieldMapping
    fields: TopicFields


def settings_of(
    options: MqttOptions, path: str, *, mapping: FieldMapping, instance: str | None
) -> MqttSettings:
    """Read a source's options.

    path: of its section, for errors. mapping: the fields' parts unless the source says others.
    instance: the data folder's name; None where nothing is kept, and then the broker forgets us soon.
    """
    url = _url(options.url, f"{path}.url")
    templates = [TopicTemplate.parse(one, f"{path}.topics[{i}]") for i, one in enumerate(options.topics)]
    mapping = _mapping(options, path, mapping)
    whole = options.type_from == TOPIC
    if whole and any(TYPE_PART in template.parts for template in templates):
        problem = 'the type comes from the whole topic, but a template has a part named "type"'
        raise OptionError(f"{path}.type_from", problem, "leave out one of them")
    share = "" if options.group is None else f"$share/{options.group}/"
    return MqttSettings(
        name=options.name,
        shown=f"{url.scheme}://{_host(url)}:{_port(url)}",
        example=example_of(options.topics[0]),
        address=_address(options, path, url, instance),
        filters=list(dict.fromkeys(share + template.filter for template in templates)),
        qos=options.qos,
        mapping=mapping,
        fields=TopicFields(templates, type_field=mapping.type, whole=whole),
    )


def _url(text: str, path: str) -> SplitResult:
    try:
        url = urlsplit(text)
        if url.hostname and url.port != 0:
            return url
        problem = "a host is missing" if not url.hostname else "the port is 0"
    except ValueError as exc:
        problem = str(exc)
    raise OptionError(path, f"not a broker's URL: {problem}", "write it as in mqtt://host:1883")


def _host(url: SplitResult) -> str:
    host = url.hostname or ""
    return f"[{host}]" if ":" in host else host


def _port(url: SplitResult) -> int:
    return url.port or (TLS_PORT if url.scheme == "mqtts" else PORT)


def _mapping(options: MqttOptions, path: str, mapping: FieldMapping) -> FieldMapping:
    if options.type_from in {None, TOPIC}:
        return mapping
    try:
        return msgspec.structs.replace(mapping, type=options.type_from)
    except OptionError as exc:
        raise OptionError(f"{path}.type_from", exc.problem, exc.fix) from exc


def _address(options: MqttOptions, path: str, url: SplitResult, instance: str | None) -> Address:
    username = options.username or (unquote(url.username) if url.username else None)
    password = options.password or (unquote(url.password) if url.password else None)
    if password is not None and username is None:
        raise OptionError(f"{path}.password", "there is no username to it", "add username = ...")
    client_id = f"streamgauge-{(instance or secrets.token_hex(8))[:12]}-{options.name}"
    passing = instance is None and options.client_id is None  # nobody will ask for this session again
    version = MQTT_5 if options.protocol == "5" else MQTT_3_1_1
    return Address(
        host=url.hostname or "",
        port=_port(url),
        tls=_tls(options, path) if url.scheme == "mqtts" else None,
        client_id=options.client_id or client_id,
        clean=passing and version == MQTT_3_1_1,
        username=_resolved(username, f"{path}.username"),
        password=_resolved(password, f"{path}.password"),
        version=version,
        receive_maximum=options.receive_maximum,
        message_bytes=options.message_bytes,
        session_expiry_s=int(min(options.session_expiry, PASSING_S) if passing else options.session_expiry),
        keep_alive_s=max(1, int(options.keep_alive)),
    )


def _resolved(text: str | None, path: str) -> str | None:
    """Look up a value that names an environment variable, as `${NAME}`."""
    named = _VARIABLE.fullmatch(text) if text is not None else None
    if named is None or text is None:
        return text
    value = os.environ.get(named[1], "").rstrip("\r\n")
    if not value:
        raise OptionError(
            path, f"the environment variable {named[1]} is not set", "set it, or write the value"
        )
    return value


def _tls(options: MqttOptions, path: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except (OSError, ssl.SSLError) as exc:
        problem = f"{options.ca_file}: {exc.strerror or exc}"
        raise OptionError(f"{path}.ca_file", problem, "give a file of certificates (PEM)") from exc
