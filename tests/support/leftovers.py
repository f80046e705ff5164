"""What a test leaves behind: threads, sockets, TLS contexts, other threads' database connections.

A pytest plugin. The guilty test fails, rather than whichever runs when the garbage collector
finds what is left. What a fixture of a wider scope opens may stay until that ends. Tests with a
browser are left out: it keeps connections of its own.
"""

import gc
import os
import ssl
import threading
import time
from collections.abc import Generator, Hashable
from typing import Any
from weakref import WeakSet

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

#: Threads of the process, which end after a while without work, or at exit.
_STAY = ("wagtail_smtp writer", "wagtail_smtp deferred", "wagtail_smtp_", "wagtail-smtp-resolve")
#: Seconds for what ends by itself. The tests' servers end idle sessions after 30, so a session that
#: stays open is found.
GRACE = 20
#: Seconds until the garbage collector is asked, which takes long.
_COLLECT_AFTER = 0.4
#: TLS contexts at a time. Those in cycles wait for the garbage collector, which would take too
#: long after each test; a few stay in modules.
MOST_CONTEXTS = 100

_opened: WeakSet[BaseDatabaseWrapper] = WeakSet()
_contexts: WeakSet[ssl.SSLContext] = WeakSet()
_kept: set[Hashable] = set()
_before = pytest.StashKey[set[Hashable]]()
_has_failed = pytest.StashKey[bool]()


def _note(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if threading.current_thread() is not threading.main_thread():
        _opened.add(connection)


connection_created.connect(_note)
_make_context = ssl.SSLContext.__new__


def _noted_context(cls: type[ssl.SSLContext], *args: Any, **kwargs: Any) -> ssl.SSLContext:
    context = _make_context(cls, *args, **kwargs)
    # Those of servers are the tests' own.
    if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        _contexts.add(context)
    return context


ssl.SSLContext.__new__ = _noted_context  # type: ignore[method-assign]


def _here() -> set[Hashable]:
    """What there is now, by name: nothing is kept alive by being compared."""
    threads = (each for each in threading.enumerate() if not each.name.startswith(_STAY))
    opened = (each for each in list(_opened) if each.connection is not None)
    return {
        *(f"{each!r} {id(each)}" for each in threads),
        *(f"{each!r} of {each.alias} {id(each)}" for each in opened),
        *_sockets(),
    }


def _sockets() -> set[str]:
    """Names of open sockets, where the system lists them, but those of this thread's databases."""
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return set()
    found = set()
    for number in numbers:
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the listing's own
        if name.startswith("socket:"):
            found.add((int(number), name))
    ours = {_number(each) for each in connections.all(initialized_only=True)} if found else set()
    return {name for number, name in found if number not in ours}


def _number(connection: BaseDatabaseWrapper) -> int | None:
    """The file number of a connection's socket."""
    if connection.connection is None or connection.vendor == "sqlite":
        return None
    try:
        number: int = connection.connection.fileno()
    except Exception:  # it is broken, whatever its driver calls that
        return None
    return number


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    item.stash[_before] = _here()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    # What failed is held by the traceback that is shown.
    item.stash[_has_failed] = item.stash.get(_has_failed, False) or report.failed
    return report


def _is_checked(item: pytest.Item) -> bool:
    """Whether what is left is the test's own.

    A browser keeps connections, and the processes of tests/processes keep pooled sessions with
    the servers that all tests of a module share.
    """
    return not item.get_closest_marker("browser") and "processes" not in item.path.parts


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    result = yield
    if _is_checked(item) and not item.stash.get(_has_failed, False):
        if left := _left(item.stash[_before]):
            pytest.fail(f"The test left behind: {', '.join(sorted(map(str, left)))}")
        if _has_too_many_contexts():
            number = len(_contexts)
            _contexts.clear()  # one failure is enough
            pytest.fail(f"There are {number} TLS contexts: this test, or one before, leaks.")
    return result


def _has_too_many_contexts() -> bool:
    if len(_contexts) > MOST_CONTEXTS:
        gc.collect()
    return len(_contexts) > MOST_CONTEXTS


def _left(before: set[Hashable]) -> set[Hashable]:
    began = time.monotonic()
    pause = 0.001
    while (left := _here() - before - _kept) and time.monotonic() - began < GRACE:
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
        if time.monotonic() - began > _COLLECT_AFTER:
            gc.collect()
    return left


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Generator[None, Any, Any]:
    if fixturedef.scope == "function":
        return (yield)
    before = _here()
    try:
        return (yield)
    finally:
        _kept.update(_here() - before)
