"""An email provider's configuration in a settings set, and the validation of its options."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.config.validation import is_host, may_log_in_without_tls
from wagtail_smtp.config.values import Problem, SettingsSetConfig
from wagtail_smtp.transports.esp.catalog import ESP, INSTALL, PROVIDERS, Option, field_name

#: Amazon has no email service in China.
_AWS_REGION = re.compile(r"(?!cn-)[a-z]{2}(-[a-z]+)+-\d{1,2}\Z")
_WORD = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")


@dataclass(frozen=True)
class ESPConfig:
    """Everything an email provider's transport needs, including keys; never stored."""

    name: str
    slug: str
    options: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    timeout: float = 10
    ca_certificates: str = ""
    #: Always empty: an email provider has no username that could be the sender.
    username: str = ""
    #: Only SMTP servers have these; here for the common interface.
    tokens: ClassVar[None] = None
    is_standard_server: ClassVar[bool] = False

    @property
    def provider(self) -> ESP:
        """Its entry in the catalog."""
        return PROVIDERS[self.slug]

    @cached_property
    def url(self) -> str:
        """Its API's URL."""
        if self.slug == "mailtrap":
            sandbox = self.options.get("sandbox_id")
            return f"https://{'sandbox' if sandbox else 'send'}.api.mailtrap.io/api/"
        return self.options.get("api_url") or self.provider.url.format(**self.options)

    @property
    def host(self) -> str:
        """Its API's host name."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Its API's port."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def encryption(self) -> str:
        """``ssl``, or ``none`` for http."""
        return "ssl" if urlsplit(self.url).scheme == "https" else "none"


def problems(item: SettingsSetConfig) -> Iterator[Problem]:
    """Yield the problems of a set's email provider and its non-secret options."""
    if not item.uses_esp:
        return
    provider = PROVIDERS.get(item.transport)
    if provider is None:
        yield Problem(_("This email provider is not supported."), "transport", item.name)
        return
    if not provider.is_installed:
        text = _("%(provider)s needs django-anymail. Ask a developer to run: %(command)s")
        values = {"provider": provider.label, "command": INSTALL}
        yield Problem(text % values, "transport", item.name)
    known = {option.name for option in provider.options if not option.is_secret}
    for name in sorted(item.provider.keys() - known):
        yield Problem(_("Unknown option: %s") % name, "transport", item.name)
    for option in provider.options:
        if option.is_secret:
            continue
        if wrong := _wrong(option, str(item.provider.get(option.name, ""))):
            yield Problem(wrong, field_name(item.transport, option.name), item.name)


def _wrong(option: Option, value: str) -> Any:
    """Return what is wrong with a value; empty if it is valid."""
    if not value:
        return _("This email provider requires a value.") if option.is_required else ""
    if option.choices:
        return "" if value in dict(option.choices) else _("Choose a value from the list.")
    if option.kind == "url":
        return _wrong_url(value)
    if option.kind == "domain":
        return "" if is_host(value) else _("Enter only a domain, for example mg.example.com.")
    if option.kind == "region":
        return "" if _AWS_REGION.match(value) else _("Enter a region, for example eu-west-1.")
    # It travels in headers and URLs.
    return "" if _WORD.match(value) else _("Enter only letters, digits and - _ . :")


def _wrong_url(value: str) -> Any:
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("https", "http") or not is_host(host) or "@" in parts.netloc:
        return _("Enter a URL, for example https://postal.example.com.")
    if parts.query or parts.fragment or not value.isprintable() or " " in value:
        return _("Enter a URL without a query, for example https://postal.example.com.")
    if parts.scheme == "http" and not may_log_in_without_tls(host):
        return _(
            "Use https, or others could read the key. Only a server on this machine can be used "
            "without it."
        )
    return ""
