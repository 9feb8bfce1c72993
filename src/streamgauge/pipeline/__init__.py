"""Stages that hand events down only as fast as they are asked for them.

Demand flows up, events flow down, and both are counted in events. A consumer asks its producer for up to
`max_demand` events, handles them in slices of at most `max_demand - min_demand`, and asks again when no more
than `min_demand` are outstanding. With `max_demand=100, min_demand=80` and a producer that answers in full,
the producer is asked for 100, 20, 20, 20 ... and the consumer sees slices of 20.

Events come in any sequence that has a length and can be sliced: a list, or a batch in columns. Nothing here
looks at single events, except to sort them into partitions and to find the bad ones in a slice that failed.

The behaviour is that of Elixir's GenStage, with two differences. A producer is asked for all that is wanted
at that moment in one call. A producer-consumer asks only while it is itself being asked.
"""

from streamgauge.pipeline.consumer import Consumer
from streamgauge.pipeline.dispatchers import BroadcastDispatcher, DemandDispatcher, PartitionDispatcher
from streamgauge.pipeline.failure import StageFailed
from streamgauge.pipeline.producer import Producer
from streamgauge.pipeline.producer_consumer import ProducerConsumer
from streamgauge.pipeline.stage import Stage
from streamgauge.pipeline.subscription import Subscription
from streamgauge.pipeline.supervisor import Supervisor

__all__ = [
    "BroadcastDispatcher",
    "Consumer",
    "DemandDispatcher",
    "PartitionDispatcher",
    "Producer",
    "ProducerConsumer",
    "Stage",
    "StageFailed",
    "Subscription",
    "Supervisor",
]
