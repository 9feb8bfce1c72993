"""All benchmarks, in the order in which they run. A new one is a file in `cases/` and a line here."""

from __future__ import annotations

from typing import Final

from benchmarks.cases import (
    client,
    http,
    in_process,
    journal,
    latency,
    memory,
    metrics_cost,
    mqtt,
    page,
    single,
    socket,
    store_reference,
    viewers,
)
from benchmarks.row import Benchmark

BENCHMARKS: Final = (
    Benchmark("http", "Events over HTTP", http.run),
    Benchmark("single", "One event a request", single.run),
    Benchmark("client", "Through the client library", client.run),
    Benchmark("socket", "Events over the socket", socket.run),
    Benchmark("mqtt", "Messages over MQTT", mqtt.run),
    Benchmark("journal", "What the journal costs", journal.run),
    Benchmark("memory", "Memory", memory.run),
    Benchmark("in_process", "Inside a program, without a server", in_process.run),
    Benchmark("latency", "From received to aggregated, and the event loop", latency.run),
    Benchmark("viewers", "Viewers of a dashboard", viewers.run),
    Benchmark("page", "The page in a browser", page.run),
    Benchmark("metrics_cost", "What a further metric costs", metrics_cost.run),
    Benchmark("store_reference", "A limit to compare with", store_reference.run),
)
