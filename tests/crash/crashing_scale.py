"""`burnstream scale` that dies by SIGKILL before a topic grows: `python -m ... TOPIC NUMBER`."""

import os
import signal
import sys

from aiokafka.admin import AIOKafkaAdminClient

from sinks import scale
from sinks.commands import app

grow = scale.add_partitions


async def add_partitions(admin: AIOKafkaAdminClient, topic: str, partitions: int) -> None:
    """Let the topic grow, unless it is the one to die before."""
    if topic.endswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    await grow(admin, topic, partitions)


if __name__ == "__main__":
    scale.add_partitions = add_partitions
    app(["scale", "--partitions", sys.argv[2]])
