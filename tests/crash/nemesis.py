"""Faults at random, from a seed that is printed: what is killed, when, in what order."""

import random
import time
from collections import Counter

from tests.system import System, Worker


class Nemesis:
    """Kills workers of a system with -9 and starts them again, as a supervisor would."""

    def __init__(self, seed: int, system: System) -> None:
        self._rng = random.Random(seed)
        self._system = system
        self.kills: Counter[str] = Counter()

    def kill_and_restart(self, kills_per_process: int, pause_seconds_max: float) -> None:
        """Kill each process kind that often, in random order; sometimes two workers at once."""
        order = ["gateway", "streams", "sinks"] * kills_per_process
        self._rng.shuffle(order)
        for kind in order:
            victims = [worker for worker in self._system.workers if worker.module == kind]
            for victim in self._rng.sample(victims, k=self._rng.choice((1, 1, len(victims)))):
                self._kill(victim)
            self._let_run(self._rng.uniform(0, pause_seconds_max / 4))
            self._system.restart_ended()
            self._let_run(self._rng.uniform(0, pause_seconds_max))
            self._system.restart_ended()

    def _kill(self, victim: Worker) -> None:
        if victim.pid is not None:
            victim.kill()
            self.kills[victim.module] += 1

    def _let_run(self, seconds: float) -> None:
        """Let the system run on for a random while: the timing is the fault, no condition."""
        time.sleep(seconds)
