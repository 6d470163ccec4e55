"""What a fault is, and what faults are inflicted on."""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.local.servers import LocalServers
from tests.crash.postgres_proxy import PostgresProxy
from tests.system import System, Worker


@dataclass(frozen=True, slots=True)
class Scene:
    """A system and the servers under it. Faults of workers leave the spared ones alone.

    `zombies`: names of workers that were woken, with work in hand, when their session was over.
    """

    system: System
    servers: LocalServers | None  # None: these are not ours to hurt
    proxy: PostgresProxy | None
    rng: random.Random
    spared: frozenset[str] = field(default_factory=frozenset)
    zombies: list[str] = field(default_factory=list)

    def victims(self, module: str) -> list[Worker]:
        """Return the running workers of a kind that may be hurt."""
        return [
            worker
            for worker in self.system.workers
            if worker.module == module and worker.name not in self.spared and worker.pid is not None
        ]


class Fault(ABC):
    """One fault, once: inflicted, held for a while, healed."""

    # Between these it is held; seconds.
    hold_seconds: tuple[float, float] = (0.5, 3.0)
    # Whether a supervisor starts ended workers again meanwhile.
    is_supervised = True

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    @property
    def system(self) -> System:
        """The system that it befalls."""
        return self.scene.system

    @property
    def servers(self) -> LocalServers:
        """The servers that it befalls."""
        if self.scene.servers is None:
            raise AssertionError("these servers are not ours to hurt")
        return self.scene.servers

    @property
    def has_struck(self) -> bool:
        """Whether what was inflicted has taken effect: it is not healed before."""
        return True

    @abstractmethod
    def inflict(self) -> str:
        """Do it; return what was done, '' when there was nobody to do it to."""

    @abstractmethod
    def heal(self) -> str:
        """Undo what does not undo itself; also when it was inflicted half. Return what counts."""


def names(workers: Sequence[Worker]) -> str:
    """Return the names of workers, for the history."""
    return ", ".join(worker.name for worker in workers)
