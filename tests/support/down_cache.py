"""A cache whose server can't be reached."""

from django.core.cache import BaseCache

#: Its entry in ``CACHES``.
SETTING = {"BACKEND": "tests.support.down_cache.DownCache"}


class DownCache(BaseCache):
    """Every call fails, as with Redis and with memcached's clients that don't hide it."""

    def __init__(self, *arguments):
        super().__init__({})

    def get(self, *arguments, **values):
        raise ConnectionError("down")

    add = set = delete = incr = touch = has_key = get_many = set_many = delete_many = get
