"""A process that keeps and renews tokens of OAuth 2 as a test tells it."""

import json
import sys
import threading
import time
from typing import Any

import django

from tests.processes.programs.console import Console, migrate

__all__ = ["TokenConsole", "migrate"]


class TokenConsole(Console):
    """Runs the functions of this module's lower half."""

    module = "tests.processes.programs.token_console"


def make_live(values: dict[str, Any], secret: str, refresh: str) -> None:
    """A live set whose consented token has just ended."""
    from wagtail_smtp import live
    from wagtail_smtp.live import consents
    from wagtail_smtp.models import Secret, SettingsSet
    from wagtail_smtp.transports.oauth.client import Token

    item = SettingsSet(name="Office", sort_order=0, authentication="oauth2", **values)
    item.secret = Secret.store(secret, item.frozen(()).binding(), item.key)
    item.save()
    now = time.time()
    consents.keep(item.frozen(()), Token("ended", refresh, now - 7200, now - 3600))
    live.reload()


def send(subject: str, *, roll_back: bool = False) -> str:
    """Send a message; the name of the error, or nothing."""
    from django.core.mail import send_mail
    from django.db import transaction

    try:
        if not roll_back:
            send_mail(subject, "Body", None, ["someone@example.org"])
            return ""
        with transaction.atomic():
            send_mail(subject, "Body", None, ["someone@example.org"])
            transaction.set_rollback(True)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def tokens_of_threads(count: int) -> list[str]:
    """The token that each of so many threads gets at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection

    from wagtail_smtp import live

    [item] = live.current().configuration.sets
    tokens = live.current().transport(item).config.tokens
    assert tokens is not None
    together = threading.Barrier(count)

    def get(_number: int) -> str:
        try:
            together.wait(10)
            return tokens.current()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(get, range(count)))


def end_token() -> int:
    """Let the stored token end; its number."""
    from dataclasses import asdict

    from wagtail_smtp.config import crypto
    from wagtail_smtp.live import lookup, token_store
    from wagtail_smtp.models import OAuthToken, SettingsSet
    from wagtail_smtp.runtime import project
    from wagtail_smtp.transports.oauth.client import Token

    config = SettingsSet.objects.get().frozen(())
    kept = token_store.DatabaseTokenStore(config).load()
    assert kept.token is not None
    ended = Token(kept.token.access, kept.token.refresh, 0, time.time() - 1)
    OAuthToken.objects.filter(fingerprint=token_store.fingerprint(config)).update(
        ciphertext=crypto.encrypt(json.dumps(asdict(ended)), token_store.binding_of(config)),
        expires_at=project.from_seconds(ended.expires_at),
        number=kept.number + 1,
    )
    lookup.forget()
    return kept.number


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
