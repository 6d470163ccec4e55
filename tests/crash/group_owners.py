"""Who owns which partition, as the group's coordinator in Kafka says it."""

import asyncio
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from tests.waiting import wait_until

SETTLE_TIMEOUT_SECONDS = 90.0


async def owners(bootstrap: str, group: str) -> Mapping[str, list[int]] | None:
    """Return the partitions of each member of a group; None while it is being shared out."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([group])
    except KafkaError:
        return None
    finally:
        await admin.close()
    (described,) = answer.to_object()["groups"]
    if described["state"] != "Stable":
        return None
    return {
        member["member_id"]: [
            partition.partition
            for partition in ConsumerProtocolMemberAssignment.decode(
                member["member_assignment"]
            ).partitions()
        ]
        for member in described["members"]
    }


def wait_until_settled(
    bootstrap: str, group: str, members: int, partitions: int
) -> Mapping[str, list[int]]:
    """Wait until a group has so many members, who share the partitions fairly; return who has what.

    Raises AssertionError when a partition has no owner, or two.
    """

    def settled() -> Mapping[str, list[int]] | None:
        found = asyncio.run(owners(bootstrap, group))
        return found if found is not None and len(found) == members else None

    what = f"{group} has {members} members"
    shares = wait_until(settled, SETTLE_TIMEOUT_SECONDS, what)
    assert shares is not None
    owned = sorted(partition for share in shares.values() for partition in share)
    assert owned == list(range(partitions)), shares
    assert max(map(len, shares.values())) - min(map(len, shares.values())) <= 1, shares
    return shares
