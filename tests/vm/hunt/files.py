"""Programs that only write files."""

import ctypes
import os
import subprocess

from broken import Broken, Job

libc = ctypes.CDLL("libc.so.6", use_errno=True)
libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
# SYNC_FILE_RANGE_WRITE: the kernel starts to write, and flushes nothing.
START_WRITING = 2


def content(number):
    line = f"this is file {number}\n"
    return (line * (6000 // len(line) + 1))[: 5000 + number * 37 % 4000]


def write(path, text, syncs):
    with open(path, "w") as file:
        file.write(text)
        file.flush()
        if syncs:
            os.fsync(file.fileno())


def read(path):
    with open(path, newline="") as file:
        return file.read()


class Careful(Job):
    """Makes files as one should: write, sync, rename, sync the directory; and then acknowledges."""

    rounds = 12

    def prepare(self):
        write(self.at("scratch"), "x" * (64 << 10) * 3 * (self.rounds + 1), True)
        self.make(0)

    def work(self):
        for number in range(1, self.rounds + 1):
            self.make(number)
            self.mark(f"acked {number}")

    def scribble(self, number):
        """Writes what may be lost: it is on its way to the disk while other things are synced."""
        with open(self.at("scratch"), "r+b", buffering=0) as file:
            for part in range(2):
                at = (number * 3 + part) * (64 << 10)
                os.pwrite(file.fileno(), b"scribbled".ljust(4096), at)
                libc.sync_file_range(file.fileno(), at, 4096, START_WRITING)

    def make(self, number):
        self.scribble(number)
        write(self.at("new"), content(number), True)
        os.rename(self.at("new"), self.at(f"file-{number}"))
        directory = os.open(self.root, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        with open(self.at("journal"), "a") as file:
            file.write(f"{number:7}\n")
            file.flush()
            os.fdatasync(file.fileno())

    def check(self, mark):
        acked = self.number(mark)
        for number in range(self.rounds + 1):
            path = self.at(f"file-{number}")
            if not os.path.exists(path):
                if number <= acked:
                    raise Broken(f"lost: file {number} of {acked}, which was acknowledged")
            elif read(path) != content(number):
                raise Broken(f"broken: file {number} has other content ({acked} acknowledged)")
        lines = read(self.at("journal")).splitlines()
        if lines[: acked + 1] != [f"{number:7}" for number in range(acked + 1)]:
            raise Broken(f"lost: the journal's lines up to {acked}, which was acknowledged")

    def spoil(self):
        write(self.at("file-0"), "x", True)


class Replace(Job):
    """Replaces a file by renaming another one over it, and never syncs it itself."""

    rounds = 6

    def prepare(self):
        self.replace(0)

    def work(self):
        for number in range(1, self.rounds + 1):
            self.replace(number)
            self.other_sync()
            self.mark(f"replaced {number}")

    def replace(self, number):
        write(self.at("settings.new"), content(number), False)
        os.rename(self.at("settings.new"), self.at("settings"))

    def check(self, mark):
        found = read(self.at("settings"))
        if found not in [content(number) for number in range(self.rounds + 1)]:
            what = "is empty" if not found else f"has {len(found)} bytes of no version"
            raise Broken(f"broken: the file that was replaced {what}")

    def spoil(self):
        write(self.at("settings"), "", True)


class Sed(Replace):
    """The same by `sed -i` of the package, on a longer file."""

    lines = 500

    def text(self, number):
        return f"value = {number}\n" * self.lines

    def prepare(self):
        write(self.at("settings"), self.text(0), True)

    def replace(self, number):
        script = f"s/value = .*/value = {number}/"
        subprocess.run(["sed", "-i", script, self.at("settings")], check=True)

    def check(self, mark):
        found = read(self.at("settings"))
        if found not in [self.text(number) for number in range(self.rounds + 1)]:
            what = "is empty" if not found else f"has {len(found)} bytes of no version"
            raise Broken(f"broken: the file that sed -i has changed {what}")


class NewName(Job):
    """Makes new files by renaming temporary ones, and never syncs them itself."""

    rounds = 6

    def prepare(self):
        self.make(0)

    def work(self):
        for number in range(1, self.rounds + 1):
            self.make(number)
            self.other_sync()
            self.mark(f"made {number}")

    def make(self, number):
        write(self.at("new"), content(number), False)
        os.rename(self.at("new"), self.at(f"file-{number}"))

    def check(self, mark):
        for number in range(self.rounds + 1):
            path = self.at(f"file-{number}")
            if os.path.exists(path) and read(path) != content(number):
                size_bytes = os.path.getsize(path)
                raise Broken(f"broken: file {number} has its name, and {size_bytes} bytes")

    def spoil(self):
        write(self.at("file-0"), "", True)
