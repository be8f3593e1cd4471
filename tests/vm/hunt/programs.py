"""Programs of their own."""

import glob
import os
import shutil
import subprocess

from broken import Broken, Job

# What PostgreSQL calls what is worth a line.
SERIOUS = ("ERROR:", "FATAL:", "PANIC:")
ENVIRONMENT = {"PATH": "/usr/bin:/usr/sbin", "HOME": "/tmp", "LC_ALL": "C"}


class Git(Job):
    """Commits of one small file each, with git's defaults."""

    rounds = 3

    def git(self, *words):
        done = subprocess.run(
            ["git", "-C", self.at("repository"), *words],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return done.returncode, (done.stderr + done.stdout).strip().splitlines()

    def must(self, *words):
        code, lines = self.git(*words)
        if code:
            raise Broken(f"git {words[0]} exits with {code}: {lines[-1:]}")

    def prepare(self):
        os.mkdir(self.at("repository"))
        self.must("init", "--quiet", "--template=")
        self.must("config", "user.name", "somebody")
        self.must("config", "user.email", "somebody@example.org")
        self.commit(0)

    def commit(self, number):
        with open(self.at("repository/file"), "w") as file:
            file.write(f"version {number}\n")
        self.must("add", "file")
        self.must("commit", "--quiet", "--message", f"commit {number}")

    def work(self):
        for number in range(1, self.rounds + 1):
            self.commit(number)
            self.other_sync()
            self.mark(f"committed {number}")

    def check(self, mark):
        code, lines = self.git("fsck", "--full", "--no-progress", "--no-dangling")
        wrong = [line for line in lines if line.startswith(("error", "fatal", "missing", "broken"))]
        if code or wrong:
            raise Broken(f"broken: git fsck exits with {code}: {' '.join(wrong[:1])}")
        code, lines = self.git("log", "--format=%s")
        if code or "commit 0" not in lines:
            raise Broken(f"broken: git log exits with {code}: {' '.join(lines[-1:])}")

    def spoil(self):
        for path in glob.glob(self.at("repository/.git/objects/??/*")):
            os.chmod(path, 0o600)
            os.truncate(path, 0)


class Postgres(Job):
    """Updates of all rows, each acknowledged, and a checkpoint after each: it writes pages that the
    next update changes again.
    """

    rounds = 3
    rows = 60
    full_page_writes = "on"
    user = 100
    programs = "/usr/lib/postgresql/here/bin/"

    @staticmethod
    def pad(number):
        return chr(ord("a") + number % 26) * 200

    def run(self, *words, text=None):
        done = subprocess.run(
            [self.programs + words[0], *words[1:]],
            env=ENVIRONMENT,
            user=self.user,
            group=self.user,
            extra_groups=[],
            cwd=self.at("pg"),
            input=text if text is not None else "",
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Broken(f"broken: {words[0]} exits with {done.returncode}: {self.wrong(done)}")
        return done

    @staticmethod
    def wrong(done):
        """The first line that tells what is wrong; else the last one."""
        lines = (done.stderr or done.stdout).strip().splitlines()
        marked = [line for line in lines if any(word in line for word in SERIOUS)]
        line = (marked[:1] or lines[-1:] or [""])[0]
        return line.split("] ", 1)[-1]

    def sql(self, text):
        options = "-h /tmp -U postgres -q -X -v ON_ERROR_STOP=1"
        self.run("psql", *options.split(), text=text)

    def prepare(self):
        os.mkdir(self.at("pg"), 0o700)
        os.chown(self.at("pg"), self.user, self.user)
        options = "--no-sync --wal-segsize=1 --no-locale --encoding=UTF8 --auth=trust"
        self.run("initdb", "-D", self.at("pg/data"), "-U", "postgres", *options.split())
        with open(self.at("pg/data/postgresql.conf"), "a") as file:
            file.write(
                f"full_page_writes = {self.full_page_writes}\n"
                "shared_buffers = 4MB\nlisten_addresses = ''\nunix_socket_directories = '/tmp'\n"
                "checkpoint_timeout = 1h\nmin_wal_size = 4MB\nmax_wal_size = 16MB\n"
            )
        options = "-l /tmp/pg.log -w -t 120 start"
        self.run("pg_ctl", "-D", self.at("pg/data"), *options.split())
        self.sql(
            "create table t (id int primary key, v int, pad text) with (fillfactor = 40);"
            f"insert into t select i, 0, '{self.pad(0)}' from generate_series(1, {self.rows}) i;"
            "checkpoint;"
        )

    def work(self):
        for number in range(1, self.rounds + 1):
            self.sql(f"update t set v = {number}, pad = '{self.pad(number)}';")
            self.mark(f"acked {number}")
            self.sql("checkpoint;")

    def check(self, mark):
        acked = self.number(mark)
        # As of a machine that was switched on: a process with that number is another one.
        if os.path.exists(self.at("pg/data/postmaster.pid")):
            os.unlink(self.at("pg/data/postmaster.pid"))
        query = "select 'found', count(*), min(v), max(v), min(pad), max(pad) from t\n"
        # One call instead of a sync of each of a thousand files before recovery.
        quick = "recovery_init_sync_method=syncfs"
        data = self.at("pg/data")
        done = self.run("postgres", "--single", "-D", data, "-c", quick, "postgres", text=query)
        values = [line.split('"')[1] for line in done.stdout.splitlines() if ' = "' in line]
        if len(values) != 6:
            raise Broken(f"broken: the server can't read its table: {self.wrong(done)}")
        _, count, low, high, low_pad, high_pad = values
        if (count, low, low_pad) != (str(self.rows), high, high_pad):
            raise Broken(f"broken: {count} rows of {self.rows}, with values from {low} to {high}")
        if low_pad != self.pad(int(low)):
            raise Broken(f"broken: rows of update {low} have the text of another one")
        if int(low) < acked:
            raise Broken(f"lost: update {acked}, which was committed; {low} is there")

    def spoil(self):
        shutil.rmtree(self.at("pg/data/base"))


class PostgresTorn(Postgres):
    full_page_writes = "off"
