"""Sends the events that it reads, one a line, with `Client`. Usage: with_client.py <url>."""

import json
import sys

from streamgauge import Client

with Client(sys.argv[1], batch_events=20, wait_s=60.0) as client:
    for line in sys.stdin:
        client.push_event(json.loads(line))
    client.flush()
counts = client.counts()
sys.exit(counts.accepted + counts.duplicates != counts.pushed)
