"""Guests that stay, and check one state after the other.

A guest boots once and checks many states: each is copied into the file behind its disk while the
disk isn't mounted. So the kernel that replays the journal is the one that wrote it, and nothing
needs privileges on the host, or has the host's kernel read a damaged file system.
"""

import json
import os
import queue
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from cases import CASES
from machine import Died, Machine

BOOT_SECONDS = 120
CHECK_SECONDS = 60


def kind(state):
    """What a state is called in the tables, of its name."""
    shape = state.split(":", 1)[-1]
    if shape == "all":
        return "kept"
    if shape == "first.0":
        return "flush"
    if "~" in shape:
        return "torn"
    if shape.startswith("first"):
        return "prefix"
    if shape.startswith("all"):
        return "drop1" if shape.count("-") == 1 else "drops"
    return "only1" if shape.startswith("none") else "random"


def copy(path, to, size_bytes):
    """Makes `to` have the content of the file, with its holes."""
    with open(path, "rb") as file:
        os.ftruncate(to, 0)
        os.ftruncate(to, size_bytes)
        at, end = 0, os.fstat(file.fileno()).st_size
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            while at < hole:
                data = os.pread(file.fileno(), min(hole - at, 1 << 20), at)
                os.pwrite(to, data, at)
                at += len(data)


class Checker:
    """One guest."""

    def __init__(self, work, number, size_bytes):
        self.work, self.size_bytes = work, size_bytes
        self.path = Path(work) / f"state-{number}"
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self.file, size_bytes)
        self.machine = None

    def boot(self):
        drive = f"-drive file={self.path},format=raw,if=none,id=disk,file.locking=off,discard=unmap"
        self.machine = Machine(self.work, f"{drive} -device virtio-blk-pci,drive=disk")
        self.machine.hear(BOOT_SECONDS)

    def do(self, do, case, file, mark=""):
        """The reason why the content of a file is bad; empty if it is good."""
        copy(file, self.file, self.size_bytes)
        try:
            if self.machine is None:
                self.boot()
            self.machine.order(do, case, mark)
            line = self.machine.hear(CHECK_SECONDS)
        except Died as died:
            self.end()
            return f"broken: {died}"
        if line != "@good":
            return line.removeprefix("@bad ")
        return self.fsck(case) if do == "check" else ""

    def fsck(self, case):
        """What the file system's own checker says of it after its journal was replayed."""
        words = [*CASES[case].fsck, str(self.path)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode == 0:
            return ""
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        return f"broken: {words[0]} exits with {done.returncode}: {' '.join(last)}"

    def end(self):
        if self.machine:
            self.machine.kill()
        self.machine = None


class Checkers:
    """Several guests behind one socket."""

    def __init__(self, work, count, size_bytes):
        self.socket = f"{work}/hunt.sock"
        self.all = [Checker(work, number, size_bytes) for number in range(count)]
        self.free = queue.Queue()
        for checker in self.all:
            self.free.put(checker)
        self.forget()
        self.lock = threading.Lock()
        checkers = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                order = json.loads(self.rfile.readline())
                self.wfile.write(json.dumps(checkers.check(**order)).encode())

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = socket.SOMAXCONN

        self.server = Server(self.socket, Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def check(self, case, file, state, mark):
        reason = self.do("check", case, file, mark)
        # A file that is known to be good or bad is no state.
        if "/" in state:
            return reason
        with self.lock:
            self.made[kind(state)] += 1
            self.bad[kind(state)] += bool(reason)
            count = sum(self.made.values())
        if count % 100 == 0:
            rate = count / (time.monotonic() - self.begun)
            print(f"  {count} states, {rate:.1f} a second", file=sys.stderr, flush=True)
        return reason

    def do(self, do, case, file, mark=""):
        checker = self.free.get()
        try:
            return checker.do(do, case, file, mark)
        finally:
            self.free.put(checker)

    def spoil(self, case, file, to):
        """Copies a file, and damages what the program has written in it."""
        checker = self.free.get()
        try:
            reason = checker.do("spoil", case, file)
            if reason:
                raise Died(f"can't damage a good state: {reason}")
            copied = os.open(to, os.O_RDWR | os.O_CREAT, 0o600)
            copy(checker.path, copied, checker.size_bytes)
            os.close(copied)
        finally:
            self.free.put(checker)

    def forget(self):
        """Begins to count."""
        self.made, self.bad = Counter(), Counter()
        self.begun = time.monotonic()

    def end(self):
        self.server.shutdown()
        for checker in self.all:
            checker.end()
