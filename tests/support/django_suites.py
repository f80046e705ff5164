"""Runs Django's own tests of email backends against the plugin's.

Called by test_django_suites.py in a process of its own, with the folder of Django's
tests as its argument, since those need Django's settings and its test runner.
"""

import os
import sys
import unittest
import warnings
from typing import Any
from unittest import mock

import django

import tests.settings as project

MODERN = django.VERSION >= (6, 1)


def configure() -> None:
    """Configure the tests' project, with Django's SMTP backend as standard delivery."""
    from django.conf import settings

    values: dict[str, Any] = {
        name: getattr(project, name) for name in dir(project) if name.isupper()
    }
    values.pop("MAILERS", None)
    test_database = values["DATABASES"]["default"].setdefault("TEST", {})
    test_database["MIGRATE"] = False
    if os.environ.get("WAGTAIL_SMTP_TEST_DATABASE"):
        # In addition to the test database of the process that waits for this one.
        test_database["NAME"] = f"suites_{os.getpid()}"
    values["WAGTAIL_SMTP"] = {
        "STANDARD": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}
    }
    settings.configure(**values)
    django.setup()


def suites() -> list[type[unittest.TestCase]]:
    """Django's shared suite with its real SMTP server, for the plugin's backend."""
    from wagtail_smtp.backend import EmailBackend

    class WithDatabase:
        databases = "__all__"

    if MODERN:
        from mail import test_backends

        class SharedTests(
            WithDatabase, test_backends.SharedEmailBackendTests, test_backends.SMTPBackendTestsBase
        ):
            backend_class = EmailBackend
            flush_mailbox = test_backends.SMTPBackendTests.flush_mailbox
            get_mailbox_content = test_backends.SMTPBackendTests.get_mailbox_content
            test_fail_silently_arg_accepted = (
                test_backends.SMTPBackendTests.test_fail_silently_arg_accepted
            )

            def setUp(self) -> None:
                super().setUp()
                self.flush_mailbox()
                self.addCleanup(self.flush_mailbox)

            def create_backend(self, **kwargs: Any) -> Any:
                kwargs.setdefault("host", self.smtp_controller.hostname)
                kwargs.setdefault("port", self.smtp_controller.port)
                return super().create_backend(**kwargs)

    else:
        from django.test import override_settings
        from mail import tests as mail_tests

        class SharedTests(  # type: ignore[no-redef]
            WithDatabase, mail_tests.BaseEmailBackendTests, mail_tests.SMTPBackendTestsBase
        ):
            email_backend = f"{EmailBackend.__module__}.{EmailBackend.__name__}"
            flush_mailbox = mail_tests.SMTPBackendTests.flush_mailbox
            get_mailbox_content = mail_tests.SMTPBackendTests.get_mailbox_content

            @classmethod
            def setUpClass(cls) -> None:
                super().setUpClass()
                cls.enterClassContext(
                    override_settings(
                        EMAIL_HOST=cls.smtp_controller.hostname,
                        EMAIL_PORT=cls.smtp_controller.port,
                    )
                )

            def setUp(self) -> None:
                super().setUp()
                self.flush_mailbox()
                self.addCleanup(self.flush_mailbox)

    return [SharedTests, *_message_suites()]


#: How many messages of Django's tests were written by both, and those that differ.
compared = {"same": 0, "differ": 0}


def _message_suites() -> list[type[unittest.TestCase]]:
    """Django's tests of messages, where each message is also written as the plugin does."""
    from mail import tests as mail_tests

    names = ("MailTests", "EmailMessageTests", "SendMailTests")
    return [
        type(f"Compared{name}", (Compared, getattr(mail_tests, name)), {})
        for name in names
        if hasattr(mail_tests, name)
    ]


class Compared:
    """Compares the bytes of each message that a test has written."""

    def setUp(self) -> None:
        from django.core.mail import EmailMessage

        super().setUp()  # type: ignore[misc]
        if self._testMethodName == "test_nonascii_as_string_with_ascii_charset":  # type: ignore[attr-defined]
            return  # it counts how often the message is written
        write = EmailMessage.message
        is_comparing = False

        def message(written: EmailMessage, *args: Any, **kwargs: Any) -> Any:
            nonlocal is_comparing
            if not is_comparing:
                is_comparing = True
                try:
                    self._compare(written)
                finally:
                    is_comparing = False
            return write(written, *args, **kwargs)

        patch = mock.patch.object(EmailMessage, "message", message)
        self.enterContext(patch)  # type: ignore[attr-defined]

    def _compare(self, written: Any) -> None:
        from tests.support.stock import our_bytes, stock_bytes

        try:
            stock_bytes(lambda: written)  # fixes the boundaries of parts made beforehand
            expected = stock_bytes(lambda: written)
        except Exception:
            return  # what a message that can't be written raises, the test itself says
        if expected:
            is_same = our_bytes(lambda: written) == expected
            compared["same" if is_same else "differ"] += 1


def main(folder: str) -> int:
    """Run the suites; the exit code says whether all passed."""
    sys.path.insert(0, os.path.join(folder))
    warnings.simplefilter("error")
    configure()
    from django.test.runner import DiscoverRunner

    class Runner(DiscoverRunner):
        def build_suite(self, *args: Any, **kwargs: Any) -> unittest.TestSuite:
            load = unittest.defaultTestLoader.loadTestsFromTestCase
            return unittest.TestSuite(map(load, suites()))

    failures = Runner(verbosity=1).run_tests([])
    same, differ = compared["same"], compared["differ"]
    sys.stdout.write(f"Messages written alike: {same}, not alike: {differ}\n")
    return failures or differ


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
