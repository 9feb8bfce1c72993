"""What the benchmarks run in processes of their own: senders, viewers, and what Streamgauge is compared with."""
