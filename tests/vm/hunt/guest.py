"""Runs in the guest: does a case's work on /dev/vda, or checks what a crash may have left there.

The host sends one line of JSON per job and reads the lines that begin with @, as of the other
tests' guests. `@host: start` and `@host: stop` wait for an answer; `@good`, `@bad REASON` and
`@ready` end a job.
"""

import ctypes
import json
import mmap
import os
import subprocess
import sys
import traceback

import cases
from broken import Broken

DISK = "/dev/vda"
ROOT = "/mnt"
MARK = b"ramblk-mark: "
BLOCK_BYTES = 4096
os.environ["PATH"] = "/usr/bin:/usr/sbin"
libc = ctypes.CDLL("libc.so.6", use_errno=True)


def say(text):
    print(text, flush=True)


def ask(text):
    say(f"@host: {text}")
    return sys.stdin.readline().strip()


def run(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Broken(f"{words[0]} exits with {done.returncode}: {' '.join(last)}")


def mount(case):
    options = case.options.encode()
    if libc.mount(DISK.encode(), ROOT.encode(), case.system.encode(), 0, options):
        raise Broken(f"mount: {os.strerror(ctypes.get_errno())}")


def unmount():
    if libc.umount2(ROOT.encode(), 0):
        raise OSError(ctypes.get_errno(), "can't unmount")


class Marks:
    """Writes what was acknowledged into the recording, in order with the disk's requests."""

    def __init__(self):
        self.disk = os.open(DISK, os.O_RDWR | os.O_DIRECT)
        self.at = os.lseek(self.disk, 0, os.SEEK_END) // BLOCK_BYTES * BLOCK_BYTES - BLOCK_BYTES
        self.block = mmap.mmap(-1, BLOCK_BYTES)

    def __call__(self, text):
        self.block[:] = (MARK + text.encode()).ljust(BLOCK_BYTES, b"\0")
        os.pwrite(self.disk, self.block, self.at)


def other_sync():
    """What another program on the same file system does: it writes a file, and syncs it."""
    with open(f"{ROOT}/other", "a") as file:
        file.write("something else\n")
        file.flush()
        os.fsync(file.fileno())


def work(case):
    run(*case.mkfs, DISK)
    mount(case)
    for name, value in case.kernel:
        with open(f"/proc/sys/vm/{name}", "w") as file:
            file.write(value)
    job = case.make(ROOT, Marks(), other_sync)
    job.prepare()
    os.sync()
    ask("start")
    job.work()
    ask("stop")


def check(case, mark):
    """Replays the file system's journal, and asks the job. The host runs fsck, which is faster."""
    mount(case)
    job = case.make(ROOT)
    attempt = isolated if job.is_isolated else reason_of
    reason = attempt(lambda: job.check(mark))
    unmount()
    if reason:
        raise Broken(reason.replace("\n", " "))


def spoil(case):
    """Does damage that a check must find."""
    mount(case)
    reason = isolated(case.make(ROOT).spoil)
    unmount()
    if reason:
        raise RuntimeError(reason)


def reason_of(action):
    """Why an action fails; empty if it doesn't."""
    try:
        action()
    except Exception as error:
        return str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
    return ""


def isolated(action):
    """The same in a process of its own, which a signal may end, and which may leave files open."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, reason_of(action).encode()[:2000])
        os._exit(0)
    os.close(writer)
    with open(reader) as said:
        reason = said.read()
    _, status = os.waitpid(child, 0)
    if status:
        return f"broken: the application is ended by signal {os.WTERMSIG(status)}"
    return reason


def serve(line):
    order = json.loads(line)
    case = cases.CASES[order["case"]]
    if order["do"] == "work":
        work(case)
    elif order["do"] == "check":
        check(case, order["mark"])
    elif order["do"] == "spoil":
        spoil(case)


def main():
    say("@ready")
    for line in sys.stdin:
        try:
            serve(line)
            say("@good")
        except Broken as broken:
            say(f"@bad {broken}")
        except Exception:
            traceback.print_exc()
            say("@fail the guest's own program has failed")


main()
