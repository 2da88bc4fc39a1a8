"""Runs a command and waits for all that it leaves behind, processes that have detached themselves too.

Prints the seconds of CPU, user and system, that all of those took: a number. Run by `measure.whole_cost`; the
command's output is thrown away. Exit status: the command's.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys

_PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h: orphans become children of this process, so that what they took is counted with it."""


def main() -> int:
    """Run the command that the arguments are."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    command = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    code = command.wait()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(used.ru_utime + used.ru_stime)
    return code


if __name__ == "__main__":
    sys.exit(main())
