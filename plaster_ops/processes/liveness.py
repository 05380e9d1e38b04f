"""In the child: die with the parent, whatever way the parent died.

The parent holds the write end of a pipe and never writes to it; the child holds the read end. When the parent is gone,
even by SIGKILL, the read end reports end of file and the child kills its whole process group, so that data loader
workers and compilers go too. Two watchers, because each has a gap: the kernel signals the group by itself where it
supports asynchronous pipes (also while a C extension holds the interpreter lock); a thread blocked in `read` covers
the kernels that do not, and a parent that died before the watchers were set.
"""

import contextlib
import fcntl
import os
import signal
import threading


def die_with_parent(alive_fd: int) -> None:
    """From now on the end of file on `alive_fd` is the end of this process and of everything in its group."""
    os.set_inheritable(alive_fd, False)
    if _leads_its_group():
        _ask_kernel(alive_fd)
    threading.Thread(target=_wait_for_the_end, args=(alive_fd,), name="plaster-liveness", daemon=True).start()


def _leads_its_group() -> bool:
    return os.getpgrp() == os.getpid()


def _ask_kernel(alive_fd: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.fcntl(alive_fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(alive_fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(alive_fd, fcntl.F_SETFL, fcntl.fcntl(alive_fd, fcntl.F_GETFL) | os.O_ASYNC)


def _wait_for_the_end(alive_fd: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(alive_fd, 1):
            pass
    if _leads_its_group():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
