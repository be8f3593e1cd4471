"""What is looked at: each case is a program on a file system, and what must come of it."""

from dataclasses import dataclass, field

import databases
import files
import programs

MKFS = {
    "ext4": "mkfs.ext4 -q -F -b 4096 -J size=8 -N 2048 -E lazy_itable_init=1,nodiscard",
    "xfs": "mkfs.xfs -q -f -K",
    "btrfs": "mkfs.btrfs -q -f -K",
}
FSCK = {
    "ext4": "e2fsck -fn",
    "xfs": "xfs_repair -n -f",
    "btrfs": "btrfs check --readonly",
}
# Dirty pages are written after 0.3 s, so that not only what is synced reaches the disk.
EAGER = (("dirty_writeback_centisecs", "20"), ("dirty_expire_centisecs", "30"))


@dataclass(frozen=True)
class Case:
    """A program on a file system."""

    system: str
    job: type
    # "nothing": a negative control; "lost" or "torn": a positive one, which only such writes find;
    # "something": a published bug or a documented hazard.
    finds: str
    options: str = ""
    kernel: tuple = ()
    random: int = 8
    rounds: int | None = None
    # Where it is documented.
    source: str = ""
    mkfs: tuple = field(init=False)
    fsck: tuple = field(init=False)

    def make(self, root, mark=None, other_sync=None):
        """The program, on what is mounted at `root`."""
        return self.job(root, mark, other_sync, self.rounds)

    def __post_init__(self):
        object.__setattr__(self, "mkfs", tuple(MKFS[self.system].split()))
        object.__setattr__(self, "fsck", tuple(FSCK[self.system].split()))


CASES = {
    "ext4": Case("ext4", files.Careful, "nothing", rounds=24),
    "xfs": Case("xfs", files.Careful, "nothing", rounds=24),
    "btrfs": Case("btrfs", files.Careful, "nothing", rounds=8),
    "replace": Case("ext4", files.Replace, "nothing"),
    "sqlite-wal": Case("ext4", databases.SqliteWal, "nothing"),
    "sqlite-extra": Case("ext4", databases.SqliteExtra, "nothing"),
    "lmdb": Case("ext4", databases.Lmdb, "nothing"),
    "postgres": Case("ext4", programs.Postgres, "nothing"),
    "barrier": Case(
        "ext4", files.Careful, "lost", options="barrier=0", rounds=6,
        source="ext4's documentation: barrier=0 sends no flushes",
    ),
    "postgres-torn": Case(
        "ext4", programs.PostgresTorn, "torn",
        source="PostgreSQL's documentation of full_page_writes",
    ),
    "leveldb": Case(
        "ext4", databases.LevelDb, "something",
        source="google/leveldb issue 193, open: a log that is full isn't synced",
    ),
    "git": Case(
        "ext4", programs.Git, "something", kernel=EAGER,
        source="git's documentation of core.fsync: loose objects aren't synced before their names",
    ),
    "sqlite": Case(
        "ext4", databases.Sqlite, "something",
        source="SQLite's documentation of synchronous: FULL may lose the last commit, EXTRA not",
    ),
    "noauto": Case(
        "ext4", files.Replace, "something", options="noauto_da_alloc",
        source="the kernel's documentation of ext4: noauto_da_alloc",
    ),
    "new-name": Case(
        "ext4", files.NewName, "something",
        source="delayed allocation: a new name without a sync",
    ),
    "sed": Case(
        "xfs", files.Sed, "something",
        source="xfs has no auto_da_alloc, and sed -i doesn't sync",
    ),
}
