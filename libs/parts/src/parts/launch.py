"""Becomes another program that ends when its parent ends. Run as a script, with the standard library only.

    python -I -S launch.py PARENT_PID SIGNAL UID COMMAND...

SIGNAL is what the kernel sends when the thread that started this process ends (0: nothing). UID -1 keeps the user. A
shim and not a ``preexec_fn``: that one runs in a fork of a process with threads, where any lock may be held for ever.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def become(libc: ctypes.CDLL, uid: int) -> None:
    """Gives up root, but keeps reaching files as root does: a checkout below a closed home directory must work too.

    Source: capabilities(7), ambient set. The secure bit is for access(2), which else asks as if the capability were
    not there, and by which PostgreSQL looks at its own programs. Where the kernel refuses (an engine that withholds the
    capability), the process goes on without.
    """
    if sys.platform != "linux":
        os.setgroups([])
        os.setuid(uid)
        return
    libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setuid(uid)
    mask = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if libc.capset(header, sets) == 0:
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def main() -> None:
    """Reads the arguments, prepares the process, replaces it."""
    parent, signal_number, uid = (int(text) for text in sys.argv[1:4])
    libc = ctypes.CDLL(None, use_errno=True)
    if uid >= 0:
        become(libc, uid)
    if signal_number and sys.platform == "linux":
        # After the change of user, which clears it.
        libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the parent was gone before the kernel knew what to send")
    try:
        os.execv(sys.argv[4], sys.argv[4:])
    except OSError as error:
        sys.exit(f"{sys.argv[4]}: {error.strerror}")


if __name__ == "__main__":
    main()
