import random
import socket

LOOPBACK = "127.0.0.1"

# Below the range from which the kernel takes ports of outgoing connections: one of those
# could otherwise sit on the port of a server that a test restarts.
FREE_PORT_RANGE = range(20_000, 32_000)


class CannotStart(Exception):  # noqa: N818 -- it reads as the sentence it prints
    """A server cannot be started; the text is one line that says why and what to do."""


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def accepts_connections(port: int) -> bool:
    """Whether something listens on the loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A loopback port nobody listens on, other than those the kernel gives to clients."""
    # Unseeded on purpose, whatever a test did to the global generator: sessions run side by side.
    for port in random.SystemRandom().sample(FREE_PORT_RANGE, 200):
        if is_free(port):
            return port
    raise CannotStart("no free port between 20000 and 32000: stop what runs there")


def require_free(port: int, server: str, variable: str) -> None:
    """Refuse a taken port in one line.

    Raises:
        CannotStart: something listens there already.
    """
    if not is_free(port):
        raise CannotStart(
            f"port {port} ({server}) is already in use: stop what runs there or set {variable}"
        )
