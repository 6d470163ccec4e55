import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from deploy.local.supervisor import Backoff, Supervisor, Worker, console_worker, pipeline_workers
from deploy.runtime.exit import ExitCode
from tests.waiting import wait_until_async

QUICK = Backoff(first_seconds=0.01, most_seconds=0.02, healthy_after_seconds=60)


def program(name: str, source: str, *arguments: str) -> Worker:
    return Worker(name, [sys.executable, "-I", "-S", "-c", source, *arguments])


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def until_lines(path: Path, count: int) -> list[str]:
    async def written() -> list[str] | None:
        return lines(path) if len(lines(path)) >= count else None

    return await wait_until_async(written, 20, f"{count} lines in {path.name}") or []


async def test_a_worker_alone_is_told_what_is_its_own(tmp_path: Path) -> None:
    """The console's key reaches the console and no other process."""
    out = tmp_path / "out"
    say = (
        "import os, sys, time\n"
        "open(sys.argv[1], 'a').write(f'{os.environ.get(\"ADMIN_API_KEY\")}\\n')\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-I", "-S", "-c", say, str(out)]
    console = console_worker("a-key")
    workers = [Worker("other", command), Worker("console", command, console.environment)]
    supervisor = Supervisor(workers, dict(os.environ), grace_seconds=5, backoff=QUICK)
    running = asyncio.create_task(supervisor.run())
    assert sorted(await until_lines(out, 2)) == ["None", "a-key"]
    supervisor.stop()
    assert await running == ExitCode.OK
    assert "a-key" not in repr(console)


def test_backoff_doubles_to_its_bound() -> None:
    """Delays of a process that keeps dying double and stop at the bound."""
    backoff = Backoff(first_seconds=1, most_seconds=5, healthy_after_seconds=30)
    delays = [0.0]
    for _ in range(5):
        delays.append(backoff.next(delays[-1], ran_seconds=0.1))
    assert delays[1:] == [1, 2, 4, 5, 5]


def test_backoff_starts_again_after_health() -> None:
    """A process that ran well for long is started again with the first delay."""
    backoff = Backoff(first_seconds=1, most_seconds=60, healthy_after_seconds=30)
    assert backoff.next(32, ran_seconds=29.9) == 60
    assert backoff.next(32, ran_seconds=30) == 1


def test_workers_are_named_and_counted() -> None:
    """N workers of a process are N commands of the same module."""
    workers = pipeline_workers({"streams": 2, "gateway": 1})
    assert [worker.name for worker in workers] == ["streams-1", "streams-2", "gateway-1"]
    assert workers[1].command == [sys.executable, "-m", "streams"]


async def test_a_worker_that_dies_is_started_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A worker that exits with the code of a bug runs again; the line says how it ended."""
    log = tmp_path / "starts"
    source = "import sys; open(sys.argv[1], 'a').write('start\\n'); sys.exit(70)"
    supervisor = Supervisor(
        [program("streams-1", source, str(log))], os.environ, grace_seconds=5, backoff=QUICK
    )
    running = asyncio.create_task(supervisor.run())
    await until_lines(log, 3)
    supervisor.stop()
    assert await running == ExitCode.OK
    assert "streams-1 ended (exit code 70): next start in 0.01 s" in capfd.readouterr().err


async def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    """A worker killed with -9 comes back with another process id."""
    log = tmp_path / "pids"
    source = (
        "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(60)"
    )
    supervisor = Supervisor(
        [program("sinks-1", source, str(log))], os.environ, grace_seconds=5, backoff=QUICK
    )
    running = asyncio.create_task(supervisor.run())
    first = (await until_lines(log, 1))[0]
    os.kill(int(first), signal.SIGKILL)
    second = (await until_lines(log, 2))[1]
    supervisor.stop()
    await running
    assert first != second


async def test_wrong_settings_stop_everything(tmp_path: Path) -> None:
    """Exit code 2 is not retried: the other workers end too and the code is handed on."""
    log = tmp_path / "ends"
    waits = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(open(sys.argv[1], 'a').write('x\\n')))\n"
        "open(sys.argv[1], 'a').write('started\\n')\n"
        "signal.pause()"
    )
    # The other waits for its start, so that its handler is there when the end comes.
    refuses = (
        "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\nsys.exit(2)"
    )
    workers = [program("sinks-1", waits, str(log)), program("gateway-1", refuses, str(log))]
    code = await Supervisor(workers, os.environ, grace_seconds=5, backoff=QUICK).run()
    assert code == ExitCode.USAGE
    assert lines(log) == ["started", "x"]


async def test_sigterm_ends_workers_and_a_stubborn_one_is_killed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM to the supervisor ends workers; one that ignores it is killed after the grace."""
    log = tmp_path / "pid"
    source = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"
        "while True: time.sleep(60)"
    )
    supervisor = Supervisor(
        [program("streams-1", source, str(log))], os.environ, grace_seconds=0.2, backoff=QUICK
    )
    running = asyncio.create_task(supervisor.run())
    pid = int((await until_lines(log, 1))[0])
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 20) == ExitCode.OK
    assert "streams-1 did not end within 0.2 s: killed" in capfd.readouterr().err
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
