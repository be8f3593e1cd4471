"""Databases that are libraries."""

import os
import sqlite3

from broken import Broken, Job


class LevelDb(Job):
    """Puts, of which every fifth is synced. One that was synced keeps those before it, as they are
    in the same log. The buffer is small, so that the log is changed often.
    """

    is_isolated = True
    rounds = 200

    def open(self, creates=False):
        import plyvel

        options = {"create_if_missing": creates, "write_buffer_size": 64 << 10}
        return plyvel.DB(self.at("db"), **options)

    @staticmethod
    def pair(number):
        return f"{number:06}".encode(), (f"{number:06} " * 200).encode()

    def prepare(self):
        self.open(creates=True).close()

    def work(self):
        database = self.open()
        for number in range(1, self.rounds + 1):
            syncs = number % 5 == 0
            database.put(*self.pair(number), sync=syncs)
            if syncs:
                self.mark(f"acked {number}")

    def check(self, mark):
        acked = self.number(mark)
        database = self.open()
        for number in range(1, self.rounds + 1):
            key, value = self.pair(number)
            found = database.get(key)
            if found is None and number <= acked:
                raise Broken(f"lost: put {number}; put {acked}, which was synced, is later")
            if found is not None and found != value:
                raise Broken(f"broken: put {number} has another value")

    def spoil(self):
        os.unlink(self.at("db/CURRENT"))


class Sqlite(Job):
    """Transactions of three rows each, one acknowledgement for each."""

    is_isolated = True
    rounds = 8
    journal = "delete"
    synchronous = "full"

    def open(self):
        database = sqlite3.connect(self.at("db"), isolation_level=None)
        database.execute(f"pragma journal_mode = {self.journal}")
        database.execute(f"pragma synchronous = {self.synchronous}")
        return database

    def insert(self, database, number):
        database.execute("begin")
        for part in range(3):
            text = f"{number}.{part} " * 100
            database.execute("insert into t values (?, ?, ?)", (number, part, text))
        database.execute("commit")

    def prepare(self):
        database = self.open()
        database.execute("create table t (number int, part int, text text)")
        self.insert(database, 0)
        database.close()

    def work(self):
        database = self.open()
        for number in range(1, self.rounds + 1):
            self.insert(database, number)
            self.mark(f"acked {number}")

    def check(self, mark):
        acked = self.number(mark)
        database = self.open()
        (found,) = database.execute("pragma integrity_check").fetchone()
        if found != "ok":
            raise Broken(f"broken: {found}")
        rows = database.execute("select number, part, text from t order by 1, 2").fetchall()
        last = len(rows) // 3 - 1
        wanted = [(n, p, f"{n}.{p} " * 100) for n in range(last + 1) for p in range(3)]
        if rows != wanted:
            raise Broken(f"broken: {len(rows)} rows, which no transactions have left")
        if last < acked:
            raise Broken(f"lost: transaction {last + 1} of {acked}, which were committed")

    def spoil(self):
        database = self.open()
        database.execute("delete from t where number = 0 and part = 1")


class SqliteExtra(Sqlite):
    synchronous = "extra"


class SqliteWal(Sqlite):
    journal = "wal"


class Lmdb(Job):
    """Transactions that set each of 40 keys to the same value."""

    is_isolated = True
    rounds = 8

    def open(self):
        import lmdb

        return lmdb.open(self.at("db"), map_size=4 << 20, subdir=True)

    @staticmethod
    def value(number):
        return (f"{number:06} " * 20).encode()

    def put(self, database, number):
        with database.begin(write=True) as transaction:
            for key in range(40):
                transaction.put(f"{key:04}".encode(), self.value(number))

    def prepare(self):
        database = self.open()
        self.put(database, 0)
        database.sync(True)

    def work(self):
        database = self.open()
        for number in range(1, self.rounds + 1):
            self.put(database, number)
            self.mark(f"committed {number}")

    def check(self, mark):
        committed = self.number(mark)
        database = self.open()
        with database.begin() as transaction:
            found = {bytes(value) for _, value in transaction.cursor()}
            count = transaction.stat()["entries"]
        if count != 40 or len(found) != 1:
            raise Broken(f"broken: {count} keys with {len(found)} values, in one transaction each")
        last = [number for number in range(self.rounds + 1) if self.value(number) in found]
        if not last:
            raise Broken("broken: a value that no transaction has written")
        if last[0] < committed:
            raise Broken(f"lost: transaction {committed}, which was committed and synced")

    def spoil(self):
        database = self.open()
        with database.begin(write=True) as transaction:
            transaction.delete(b"0000")
