"""What is counted over all processes, while the cache is there, and while it is not."""

import pytest
from django.core import mail
from django.core.mail import EmailMessage

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.servers.memcached import Memcached, required_program
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.redis_server import required_program as required_redis
from wagtail_smtp.admin.connection_check import views
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.runtime import once


class _Someone:
    pk = 1


@pytest.fixture
def memcached(settings):
    pytest.importorskip("pymemcache")
    with Memcached(required_program()) as server:
        settings.CACHES = {"default": server.cache}
        yield server


@pytest.fixture
def redis(settings):
    with RedisServer(required_redis()) as server:
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": f"redis://127.0.0.1:{server.port}",
            }
        }
        yield server


@pytest.fixture(params=["memcached", "redis", "dummy"])
def away(request, settings):
    """A cache that was there once, and is not any more; or keeps nothing."""
    if request.param == "dummy":
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
        return
    server = request.getfixturevalue(request.param)
    assert once.is_first("there", 60)
    assert not once.is_first("there", 60)
    server.kill()
    # The first use closes the client's connection.
    assert once.is_first("away", 60)


@pytest.mark.threat(35)
@pytest.mark.usefixtures("away")
def test_the_process_counts_while_the_cache_is_away():
    assert [once.is_first("key", 60) for _ in range(3)] == [True, False, False]
    assert once.is_undone("key")
    assert not once.is_undone("key")
    assert [once.count("number", 60) for _ in range(3)] == [1, 2, 3]


def test_what_is_over_is_first_again(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    assert once.is_first("key", 0.01)
    while not once.is_first("key", 60):
        pass
    assert not once.is_first("key", 60)


@pytest.mark.usefixtures("away")
def test_a_test_can_be_run_while_the_cache_is_away():
    for _ in range(3):
        running = views.RunningCheck(_Someone)
        running.begin()
        with pytest.raises(views.LimitReached):
            views.RunningCheck(_Someone).begin()
        running.end()


@pytest.mark.threat(35)
@pytest.mark.usefixtures("away", "admins")
def test_admins_hear_of_a_server_that_fails_while_the_cache_is_away(make_set, reload, configure):
    configure(COOL_DOWN=0.001)
    with HostileServer(faults=[Fault("connect", "close")]) as server:
        make_set(server, name="Only one")
        reload()
        for _ in range(2):
            with pytest.raises(EmailDeliveryError):
                EmailMessage("Hi", "Body", None, ["real@example.org"]).send()
        subjects = [message.subject.strip() for message in mail.outbox]
        assert subjects == ["[Django] Email problem: “Only one” is failing"]
