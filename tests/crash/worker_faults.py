"""Faults of our own processes: killed, ended, frozen, joined by others and left by them."""

from typing import ClassVar

from tests.crash.fault import Fault, Scene, names
from tests.system import Worker
from tests.waiting import wait_until

# Their grace is 10 s; the machine may be busy.
END_TIMEOUT_SECONDS = 60.0


class _KillOne(Fault):
    """SIGKILL to one worker of a kind, or to all of them at once."""

    module: ClassVar[str]
    is_supervised = False

    def inflict(self) -> str:
        """Kill."""
        victims = self.scene.victims(self.module)
        if self.scene.rng.random() < 0.7:
            victims = self.scene.rng.sample(victims, k=min(1, len(victims)))
        for victim in victims:
            victim.kill()
        return names(victims)

    def heal(self) -> str:
        """The supervisor's business."""
        return ""


class KillGateway(_KillOne):
    """SIGKILL to gateways."""

    module = "gateway"


class KillStreams(_KillOne):
    """SIGKILL to streams workers."""

    module = "streams"


class KillSinks(_KillOne):
    """SIGKILL to sinks."""

    module = "sinks"


class Terminate(Fault):
    """SIGTERM to one worker of each kind, or of some."""

    is_supervised = False

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._victims: list[Worker] = []

    def inflict(self) -> str:
        """Ask them to end."""
        for module in ("gateway", "streams", "sinks"):
            found = self.scene.victims(module)
            if found and (self.scene.rng.random() < 0.7 or module == "streams"):
                self._victims.append(self.scene.rng.choice(found))
        for victim in self._victims:
            victim.terminate()
        return names(self._victims)

    def heal(self) -> str:
        """Wait until they have ended: a second signal would end them at once."""
        wait_until(
            lambda: all(victim.pid is None for victim in self._victims),
            END_TIMEOUT_SECONDS,
            f"{names(self._victims)} end",
        )
        return ", ".join(f"{victim.name} ended with {victim.exit_code}" for victim in self._victims)


class Freeze(Fault):
    """SIGSTOP for longer than the group's session: zombies that wake with work in hand."""

    # The sinks' session is 12 s.
    hold_seconds = (13.5, 16.0)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._victims: list[tuple[Worker, int | None]] = []

    def inflict(self) -> str:
        """Freeze one worker of each kind that has a session."""
        for module in ("streams", "sinks"):
            victims = self.scene.victims(module)
            for victim in self.scene.rng.sample(victims, k=min(1, len(victims))):
                victim.pause()
                self._victims.append((victim, victim.pid))
        return names([victim for victim, _ in self._victims])

    def heal(self) -> str:
        """Wake those that nobody has killed meanwhile."""
        woken = [victim for victim, pid in self._victims if victim.pid == pid]
        for victim in woken:
            if _is_at_work(victim):
                self.scene.zombies.append(victim.name)
            victim.resume()
        return names(woken)


def _is_at_work(worker: Worker) -> bool:
    """Whether it has held partitions: until then it has no session to lose."""
    return any(said in worker.log for said in ("Partition folded", "Event processed"))


class JoinAndLeave(Fault):
    """Two more of streams and sinks join; then two of each leave, whichever: 1, 3, 1."""

    hold_seconds = (5.0, 8.0)
    joining = 2

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._joined = 0

    def inflict(self) -> str:
        """Start more workers, without waiting for them."""
        joined = []
        for workers in (self.system.streams, self.system.sinks):
            module = workers[0].module
            for _ in range(self.joining):
                number = 1 + max(int(worker.name.rpartition("-")[2]) for worker in workers)
                worker = Worker(module, number, self.system.folder, self.system.environment)
                worker.start()
                workers.append(worker)
                joined.append(worker)
        self._joined = self.joining
        return names(joined)

    def heal(self) -> str:
        """Take as many away, asked or killed."""
        left = []
        for workers in (self.system.streams, self.system.sinks):
            leaving = [worker for worker in workers if worker.name not in self.scene.spared]
            for worker in self.scene.rng.sample(leaving, k=self._joined):
                workers.remove(worker)
                if self.scene.rng.random() < 0.5:
                    worker.kill()
                else:
                    worker.stop()
                left.append(worker)
        self._joined = 0
        return names(left)
