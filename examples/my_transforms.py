"""A transform: leaves out robots and test events, and brings prices in cents to one currency.

Name it in the configuration (docs/transforms.md):

    [transform]
    module = "examples/my_transforms.py"
"""

from typing import Any

IN_EUROS = {"EUR": 1.0, "USD": 0.92, "GBP": 1.17}
ROBOTS = ("bot", "crawler", "spider")


def transform(event: dict[str, Any]) -> dict[str, Any] | None:
    """Give the event as it is to be counted, or None to leave it out."""
    agent = str(event.get("user_agent", "")).lower()
    if event.get("test") or any(word in agent for word in ROBOTS):
        return None
    if "price_cents" in event:
        event["price"] = event["price_cents"] / 100 * IN_EUROS[event.get("currency", "EUR")]
    return event
