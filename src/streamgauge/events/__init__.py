"""From bytes to a batch of events, step by step."""
