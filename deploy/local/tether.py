"""Runs a program that ends with the process that started it.

    tether.py OPTIONS -- PROGRAM ARGUMENT...

Run as a file by a bare interpreter (`python -I -S`), because the settings belong to the process
that then *becomes* the program: a parent's death is told by a signal, root's rights are dropped.
"""

import argparse
import ctypes
import os
import signal
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
LINUX_CAPABILITY_VERSION_3 = 0x20080522


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise SystemExit(f"{what}: {os.strerror(code)}")


def _become(libc: ctypes.CDLL, uid: int, gid: int, *, see_all_folders: bool) -> None:
    """Drop root. `see_all_folders` keeps the one right to pass folders closed to others."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    if not see_all_folders:
        os.setresuid(uid, uid, uid)
        return
    # Without this bit access(2), which Postgres asks about its own files, forgets the right.
    _checked(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "securebits")
    os.setresuid(uid, uid, uid)
    header = struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0)
    right = 1 << CAP_DAC_OVERRIDE
    sets = struct.pack("6I", right, right, right, 0, 0, 0)
    _checked(libc.capset(header, sets), "capset")
    raised = libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)
    _checked(raised, "ambient capability")


def main() -> None:
    """Set up this process and become the program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, default=int(signal.SIGTERM))
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--see-all-folders", action="store_true")
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    libc = ctypes.CDLL(None, use_errno=True)
    if options.uid is not None:
        _become(libc, options.uid, options.gid, see_all_folders=options.see_all_folders)
    if sys.platform == "linux":  # After the change of user, which would clear it.
        _checked(libc.prctl(PR_SET_PDEATHSIG, options.signal, 0, 0, 0), "parent's death")
        if os.getppid() != options.parent:
            raise SystemExit("the starting process is gone already")
    os.execv(options.program[0], options.program)  # noqa: S606 -- becomes the program


if __name__ == "__main__":
    main()
