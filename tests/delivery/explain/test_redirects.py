"""What all redirects do together."""

from wagtail_smtp import live
from wagtail_smtp.config.values import Configuration
from wagtail_smtp.delivery.explain.redirects import active_redirect


def test_the_redirect_over_all_categories(sets, settings):
    config = live.current().configuration
    found = active_redirect(config)
    assert (found.addresses, found.sources, found.is_all) == (("qa@example.com",), ("Main",), True)
    assert active_redirect(Configuration("standard", config.sets)) is None
    assert active_redirect(Configuration("custom", config.sets[1:])) is None
    some = active_redirect(Configuration("custom", (config.sets[1], config.sets[0])))
    assert not some.is_all
    assert not some.is_blocked
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"REDIRECT_ALL_TO": ["x"]}
    blocked = active_redirect(config)
    assert (blocked.addresses, blocked.is_all, blocked.is_blocked) == ((), True, True)
