"""On SQLite, threads of one process write in turn."""

import signal
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from django.db import IntegrityError, connections

from wagtail_smtp.live.db import sqlite_writer


@pytest.fixture
def alias(tmp_path, monkeypatch, django_db_blocker):
    """A database in a file, which several threads can write into."""
    values = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db"), "OPTIONS": {}}
    monkeypatch.setitem(
        connections.settings, "turns", {**connections.settings["default"], **values}
    )
    with django_db_blocker.unblock():
        with connections["turns"].cursor() as cursor:
            cursor.execute("CREATE TABLE written (name text)")
        yield "turns"
        connections["turns"].close()
        del connections["turns"]


def _written(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT name FROM written ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


class Writers:
    """Threads that wait for the turn of a first one, and then take theirs."""

    def __init__(self, alias):
        self.alias = alias
        self.commits = []
        self.results = {}

    def run(self, works):
        begun, go = threading.Event(), threading.Event()

        def hold():
            begun.set()
            go.wait(10)
            return 0

        threads = [threading.Thread(target=self._take, args=("first", hold))]
        threads[0].start()
        assert begun.wait(10)
        for name, work in works.items():
            threads.append(threading.Thread(target=self._take, args=(name, work)))
            threads[-1].start()
            while sqlite_writer.waiting(self.alias) < len(threads) - 1:
                time.sleep(0.001)
        go.set()
        for thread in threads:
            thread.join(10)
        return self.results

    def _take(self, name, work):
        connection = connections[self.alias]
        try:
            with connection.execute_wrapper(self._note):
                self.results[name] = sqlite_writer.commit(work, self.alias)
        except IntegrityError as error:
            self.results[name] = error
        finally:
            connection.close()

    def _note(self, execute, sql, *arguments):
        self.commits += [threading.get_ident()] * sql.startswith("INSERT")
        return execute(sql, *arguments)


def _insert(name):
    def work():
        with connections["turns"].cursor() as cursor:
            cursor.execute("INSERT INTO written VALUES (%s)", [name])
            return cursor.rowcount

    return work


def test_one_commits_for_all_who_wait(alias):
    writers = Writers(alias)
    results = writers.run({name: _insert(name) for name in "abc"})
    assert results == {"first": 0, "a": 1, "b": 1, "c": 1}
    assert _written(alias) == ["a", "b", "c"]
    assert len(set(writers.commits)) == 1


def test_what_fails_takes_nobody_along(alias):
    def fail():
        raise IntegrityError("no")

    results = Writers(alias).run({"a": _insert("a"), "b": fail, "c": _insert("c")})
    assert isinstance(results.pop("b"), IntegrityError)
    assert results == {"first": 0, "a": 1, "c": 1}
    assert _written(alias) == ["a", "c"]


class Interrupted(BaseException):
    """What a signal's handler raises: a task system's, whose time is over."""


def test_who_gives_up_waiting_has_nothing_done(alias):
    """Nobody would send what was begun, and all of it would become *unknown*."""

    def interrupt(*arguments):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    begun, go = threading.Event(), threading.Event()

    def hold():
        begun.set()
        go.wait(10)
        return 0

    def others():
        sqlite_writer.commit(hold, alias)
        sqlite_writer.commit(_insert("other"), alias)
        connections[alias].close()

    def interrupt_main():
        while not sqlite_writer.waiting(alias):
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    threads = [threading.Thread(target=target) for target in (others, interrupt_main)]
    try:
        threads[0].start()
        assert begun.wait(10)
        threads[1].start()
        with pytest.raises(Interrupted):
            sqlite_writer.commit(_insert("mine"), alias)
    finally:
        go.set()
        for thread in threads:
            thread.join(10)
        signal.signal(signal.SIGUSR1, before)
    assert _written(alias) == ["other"]


def test_a_checkpoint_leaves_nothing_for_the_next_commit(alias, tmp_path):
    def in_the_file_itself():
        """The rows, read without what was written ahead."""
        copy = tmp_path / "copy"
        copy.write_bytes((tmp_path / "db").read_bytes())
        with closing(sqlite3.connect(copy)) as connection:
            return connection.execute("SELECT count(*) FROM written").fetchone()[0]

    with connections[alias].cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = WAL").fetchall()
        cursor.execute("INSERT INTO written VALUES ('ada')")
        assert in_the_file_itself() == 0
        reading = cursor.execute("SELECT name FROM written")
        sqlite_writer.checkpoint(alias)
        assert in_the_file_itself() == 0
        reading.fetchall()
        sqlite_writer.checkpoint(alias)
        assert in_the_file_itself() == 1
        cursor.execute("PRAGMA journal_mode = DELETE").fetchall()
        sqlite_writer.checkpoint(alias)
    assert _written(alias) == ["ada"]


@pytest.mark.django_db
def test_a_transaction_is_not_interrupted_by_a_checkpoint():
    sqlite_writer.checkpoint("default")
