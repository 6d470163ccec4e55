"""The table of Kafka rights in docs/security.md, read and given to a broker."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from deploy.local.servers import REPOSITORY

SECURITY_PAGE = REPOSITORY / "docs" / "security.md"
_ROW = re.compile(
    r"^\| `([a-z-]+)` \| (topic|group|cluster) \| `([^`]+)` \| ([A-Za-z, ]+) \|$", re.MULTILINE
)
_LITERAL, _ALLOW = 3, 3


class Resource(IntEnum):
    """Numbers of the protocol."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4


class Operation(IntEnum):
    """Numbers of the protocol."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTERACTION = 9
    DESCRIBECONFIGS = 10
    ALTERCONFIGS = 11
    IDEMPOTENTWRITE = 12


@dataclass(frozen=True)
class Right:
    """One user may do one thing with one resource."""

    user: str
    resource: Resource
    name: str
    operation: Operation


def listed_rights() -> Iterator[Right]:
    """Every right that the page lists."""
    for user, resource, name, operations in _ROW.findall(SECURITY_PAGE.read_text()):
        for operation in operations.split(", "):
            yield Right(user, Resource[resource.upper()], name, Operation[operation.upper()])


async def give(admin: AIOKafkaAdminClient, rights: list[Right]) -> None:
    """Make them ACLs, for any host."""
    for one in rights:
        request = CreateAclsRequest(
            one.resource, one.name, _LITERAL, f"User:{one.user}", "*", one.operation, _ALLOW
        )
        # It has no call of its own for ACLs.
        answer = await admin._send_request(request)
        ((code, message),) = answer.creation_responses
        assert code == 0, (one, message)
