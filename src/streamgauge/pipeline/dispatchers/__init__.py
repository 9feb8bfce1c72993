"""The ways of sharing a producer's events among its consumers."""

from streamgauge.pipeline.dispatchers.broadcast import BroadcastDispatcher
from streamgauge.pipeline.dispatchers.demand import DemandDispatcher
from streamgauge.pipeline.dispatchers.partition import PartitionDispatcher

__all__ = ["BroadcastDispatcher", "DemandDispatcher", "PartitionDispatcher"]
