"""Where rollups and raw events are kept."""
