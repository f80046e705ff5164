"""How many modules a plain message passes through before it has been sent."""

import sys

from django.core.mail import send_mail

#: The maximum. A reader who follows one message opens this many files.
MODULES = 20
#: Not counted: without OpenTelemetry's SDK it does nothing, with it, it only watches.
WATCHES = "wagtail_smtp.runtime.tracing"


def _send():
    send_mail("Hi", "Body", "shop@example.com", ["ada@example.org"])


def _modules():
    """The package's modules in which a function runs until the message has been sent."""
    modules = {}
    is_sent = False

    def profile(frame, event, arg):
        nonlocal is_sent
        module = frame.f_globals.get("__name__", "")
        if not module.startswith("wagtail_smtp.") or module == WATCHES:
            return
        if event == "call" and not is_sent:
            modules.setdefault(module)
        elif event == "return" and frame.f_code.co_name == "_send_with":
            is_sent = True

    sys.setprofile(profile)
    try:
        _send()
    finally:
        sys.setprofile(None)
    assert is_sent
    return list(modules)


def test_a_message_passes_through_few_modules(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    _send()  # connects and loads the configuration
    modules = _modules()
    assert len(smtp_server.received) == 2
    assert len(modules) <= MODULES, modules
