"""Run a program on a kernel that lacks something: `without.py landlock|seccomp|life PROGRAM WORD...`

The calls fail as on a kernel without landlock, or in a container whose own filter forbids others; or
(`life`) they end the process, as under a service manager whose filter doesn't know them.
"""

import ctypes
import errno
import os
import struct
import sys

# The numbers of x86-64 and of the generic table that other architectures use agree for landlock.
LACKING = {
    "landlock": ([444, 445, 446], errno.ENOSYS),
    "seccomp": ([317 if os.uname().machine == "x86_64" else 277], errno.EPERM),
}
LACKING["life"] = (LACKING["landlock"][0] + LACKING["seccomp"][0], None)
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL, END = 0x7FFF0000, 0x00050000, 0x80000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

calls, error = LACKING[sys.argv[1]]
steps = [(LOAD, 0, 0, 0)]
for at, call in enumerate(calls):
    steps.append((JUMP_IF_EQUAL, len(calls) - at, 0, call))
steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, END if error is None else FAIL | error)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]


whole = Program(len(steps), ctypes.cast(program, ctypes.c_void_p))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, ctypes.get_errno()
assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(whole)) == 0, ctypes.get_errno()
os.execv(sys.argv[2], sys.argv[2:])
