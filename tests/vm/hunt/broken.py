"""What all jobs share."""


class Broken(Exception):
    """A state that a crash may leave breaks what was promised."""


class Job:
    """What a program does on a file system, and what must be true of it after a crash."""

    # Whether `check` calls a library that damaged files may bring down.
    is_isolated = False

    # How often it does what it does.
    rounds = 6

    def __init__(self, root, mark=None, other_sync=None, rounds=None):
        self.root = root
        self.rounds = rounds or self.rounds
        self.mark = mark
        self.other_sync = other_sync

    def at(self, name):
        return f"{self.root}/{name}"

    @staticmethod
    def number(mark):
        """The number in a mark like "acked 17"; 0 before the first one."""
        return int(mark.split()[-1]) if mark else 0

    def prepare(self):
        """Do what is there, and stable, before the recording begins."""
        raise NotImplementedError

    def work(self):
        """Do what is recorded."""
        raise NotImplementedError

    def check(self, mark):
        """Raise Broken if what is there isn't what the last mark before the crash has promised."""
        raise NotImplementedError

    def spoil(self):
        """Do damage that `check` must find: that shows that it can find something."""
        raise NotImplementedError
