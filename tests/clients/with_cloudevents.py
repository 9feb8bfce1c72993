"""Sends the events that it reads, one a line, as CloudEvents made by the SDK. Usage: with_cloudevents.py <url>.

The SDK makes requests and sends none: what is refused for now, or breaks, is sent again here, as its users have to do.
"""

import json
import sys
import time
from typing import Any

import httpx
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent


def message_of(event: dict[str, Any]) -> HTTPMessage:
    """Write an event in one of the two modes that the SDK knows."""
    attributes = {"type": event["type"], "source": "/sender", "id": event["event_id"]}
    write = to_structured_event if event["value"] % 2 else to_binary_event
    return write(CloudEvent(attributes, {"value": event["value"]}))


def send(http: httpx.Client, message: HTTPMessage) -> None:
    """Send one event until it is taken."""
    while True:
        try:
            answer = http.post(
                f"{sys.argv[1]}/api/events", headers=dict(message.headers), content=message.body
            )
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code != 503:
            answer.raise_for_status()
            return
        time.sleep(int(answer.headers["retry-after"]))


with httpx.Client() as http:
    for line in sys.stdin:
        send(http, message_of(json.loads(line)))
