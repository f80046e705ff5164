"""Test a set, as typed into its form or as stored."""

import time
import uuid

from django import forms
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import TemplateView, View
from wagtail.admin import messages
from wagtail.admin.ui.menus import MenuItem
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import (
    SETS,
    AdminPage,
    WagtailView,
    is_email_held,
    validate_address,
)
from wagtail_smtp.admin.connection_check.check import ConnectionCheck, problem_response, stream
from wagtail_smtp.admin.sets.form import SettingsSetForm
from wagtail_smtp.admin.sets.secret_form import SECRET_FIELDS
from wagtail_smtp.config_files.sets_file import manager
from wagtail_smtp.diagnostics.check_set import sender_hints
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live import draft_configuration, set_secrets
from wagtail_smtp.live.resolve import reference_problem
from wagtail_smtp.models import DeliverySettings, ReportEmail, Secret, SettingsSet
from wagtail_smtp.runtime import once
from wagtail_smtp.runtime.project import address_of

#: Pairs of seconds, and how many checks a user may start in them.
LIMITS = ((60, 10), (3600, 60))
#: The same for test emails that are sent with the live settings.
EMAIL_LIMITS = ((60, 5),)
#: Seconds after which a check no longer counts as running, in case its process died.
LONGEST = 30


class LimitReached(Exception):
    """The user has to wait.

    Attributes:
        seconds: how long.
    """

    def __init__(self, message, seconds):
        super().__init__(message)
        self.seconds = seconds


class RunningCheck:
    """The one check that a user may run at a time."""

    def __init__(self, user):
        self._key = f"wagtail_smtp.test.{user.pk}"
        self._token = uuid.uuid4().hex

    def begin(self):
        """Begin the check; call :meth:`end` when it is done.

        Raises:
            LimitReached: another check is running, or the user has started too many.
        """
        if not once.is_first(self._key, LONGEST, self._token):
            text = _("You are already running a test. Wait up to 20 seconds and try again.")
            raise LimitReached(text, LONGEST)
        try:
            _count(self._key, LIMITS)
        except LimitReached:
            self.end()
            raise

    def end(self):
        """End the check. This may be called twice."""
        # The token spares a check that began after this one had exceeded LONGEST.
        once.is_undone(self._key, self._token)


def count_email(user):
    """Count a test email of a user.

    Raises:
        LimitReached: the user has sent too many.
    """
    _count(f"wagtail_smtp.test_email.{user.pk}", EMAIL_LIMITS)


def _count(key, limits):
    now = time.time()
    for period, limit in limits:
        if once.count(f"{key}.{period}.{int(now // period)}", period + 1) > limit:
            seconds = period - int(now % period)
            raise LimitReached(_too_many(limit, seconds), seconds)


def _too_many(limit, seconds):
    if seconds < 90:
        number = seconds
        text = ngettext(
            "You have run %(limit)d tests in a short time. Try again in %(n)d second.",
            "You have run %(limit)d tests in a short time. Try again in %(n)d seconds.",
            number,
        )
    else:
        number = seconds // 60 + 1
        text = ngettext(
            "You have run %(limit)d tests in a short time. Try again in %(n)d minute.",
            "You have run %(limit)d tests in a short time. Try again in %(n)d minutes.",
            number,
        )
    return text % {"limit": limit, "n": number}


_NAMES = "wagtailsnippets_wagtail_smtp_settingsset"


class AddressForm(forms.Form):
    """The recipient of the test email."""

    test_address = forms.CharField(
        label=gettext_lazy("Send test email to"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        validators=[validate_address],
    )

    @classmethod
    def for_user(cls, user, *, is_held):
        """Return the form with the user's own address, or None if the user can't send now."""
        if user.has_perm(permissions.SEND_TEST) and not is_held:
            return cls(initial={"test_address": address_of(user)})
        return None


class OffersTests(WagtailView):
    """View mixin of a set's form: test buttons, and hints about its sender."""

    @cached_property
    def is_held(self):
        return is_email_held()

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        stored = self.form.instance if self.form.instance.pk else None
        url_name, args = ("test_typed", [stored.pk]) if stored else ("test_new", [])
        return context | {
            # The template extends this one.
            "wagtails_form": f"wagtailsnippets/snippets/{'edit' if stored else 'create'}.html",
            "test_url": reverse(f"{_NAMES}:{url_name}", args=args),
            "address_form": AddressForm.for_user(self.request.user, is_held=self.is_held),
            "is_held": self.is_held and self.request.user.has_perm(permissions.SEND_TEST),
            "sender_hints": _hints(stored) if stored else [],
        }

    def save_action(self):
        response = super().save_action()
        for hint in _hints(self.object):
            messages.warning(self.request, hint)
        return response


def _hints(item):
    found = sender_hints(draft_configuration())
    hints = [str(hint.message) for hint in found if hint.set_name == item.name]
    # Not through the foreign key, which may read from a replica.
    secret = Secret.objects.filter(pk=item.secret_id).first()
    return [*hints, *filter(None, [reference_problem(item.frozen(()), secret)])]


def check_buttons(item, request, *, is_held):
    """Return the listing's row actions that test a stored set.

    Args:
        is_held: whether email is held, so that no test email can be sent.
    """
    return [
        MenuItem(
            view.page_title,
            reverse(f"{_NAMES}:{view.name}", args=[item.pk]),
            icon_name=view.button_icon,
            priority=priority,
        )
        for priority, view in enumerate((EmailCheckView, ConnectionCheckView), start=11)
        if view.is_allowed(request.user) and not (is_held and view is EmailCheckView)
    ]


#: Values of ``test`` in a POST: only the connection, or a test email to ``test_address`` too.
CONNECTION, EMAIL = "connection", "email"


class CannotTest(Exception):
    """Nothing is tested.

    Args:
        errors: messages by the name of a form field.
    """

    def __init__(self, status, text, errors=None):
        super().__init__(text)
        self.status, self.errors = status, errors


class CheckView(View):
    """A POST runs a check and streams its stages; nothing is saved.

    The check runs while the response is read, without locks or transactions.
    """

    @property
    def kind(self):
        """:data:`CONNECTION` or :data:`EMAIL`."""
        raise NotImplementedError

    def post(self, request, *args, **kwargs):
        try:
            return self._run(request)
        except CannotTest as error:
            return problem_response(error.status, error, error.errors)
        except (EmailDeliveryError, ImproperlyConfigured) as error:
            return problem_response(409, error)
        except LimitReached as error:
            return problem_response(429, error, wait=error.seconds)

    @sensitive_variables()
    def _run(self, request):
        address = self._address()
        item, secret, is_typed = self.get_set()
        check = ConnectionCheck.prepare(item, secret, is_typed, address)
        running = RunningCheck(request.user)
        running.begin()
        try:
            references = secret.references if secret is not None else {}
            set_secrets.claim(item, references, request.user)
            self._log(check, address, references)
        except BaseException:
            running.end()
            raise
        return stream(request, check, running)

    def _address(self):
        """The address to send a test email to, or None."""
        if self.kind != EMAIL:
            return None
        form = AddressForm(self.request.POST)
        if not form.is_valid():
            text = _("The test email was not sent. Correct its address.")
            raise CannotTest(422, text, {"test_address": form.errors["test_address"]})
        return form.cleaned_data["test_address"]

    def get_set(self):
        """Return the set as plain values, its secret or None, and whether the secret was typed.

        Raises:
            CannotTest: the set was deleted, or the form has errors.
        """
        raise NotImplementedError

    def _log(self, check, address, references):
        """Write the audit entry, always before the connection is opened."""
        server = check.server
        data = {"server": f"{server.host}:{server.port}", "set": check.item.name}
        if references:
            data["references"] = list(references.values())
        if address is not None:
            data |= {"address": address, "recipients": list(check.outgoing.envelope.recipients)}
        action = "test_connection" if address is None else "send_test_email"
        # A new set can't have an audit entry yet.
        instance = self.stored_set() or DeliverySettings.load()
        log(instance=instance, action=f"wagtail_smtp.{action}", data=data)

    def stored_set(self):
        """Return the stored set; None if it is new or was deleted."""
        return SettingsSet.objects.filter(pk=self.kwargs.get("pk")).first()

    @staticmethod
    def stored_values(item):
        """Return a stored set as :meth:`get_set` does."""
        reports = ReportEmail.objects.filter(settings_set=item)
        # Not through the foreign key, which may read from a replica.
        secret = Secret.objects.filter(pk=item.secret_id).first()
        return item.frozen(reports), secret, False


@method_decorator(sensitive_post_parameters(*SECRET_FIELDS), name="dispatch")
class FormCheckView(CheckView):
    """Tests the values in the form of a new or stored set."""

    form_class = SettingsSetForm
    http_method_names = ["post"]

    @property
    def kind(self):
        return EMAIL if self.request.POST.get("test") == EMAIL else CONNECTION

    def dispatch(self, request, *args, **kwargs):
        needed = [permissions.CHANGE_SETS if "pk" in kwargs else permissions.ADD_SETS]
        if self.kind == EMAIL:
            needed.append(permissions.SEND_TEST)
        if not request.user.has_perms(needed):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    def get_set(self):
        instance = self.stored_set()
        if instance is None:
            if "pk" in self.kwargs:
                raise CannotTest(404, _DELETED)
            instance = SettingsSet()
        elif manager(instance):
            return self.stored_values(instance)  # its form is locked
        form = self.form_class(self.request.POST, instance=instance, for_user=self.request.user)
        if not form.is_valid():
            raise _invalid(form)
        item, secret = form.typed()
        if item.authentication == "password" and secret is None:
            raise CannotTest(422, _NOT_TESTED, {"password": [_("Enter the password.")]})
        return item, secret, bool(form.typed_secret())


_DELETED = gettext_lazy("Someone has deleted this settings set.")
_NOT_TESTED = gettext_lazy("Nothing was tested. Correct the errors in the form and test again.")


def _invalid(form):
    """The errors of the form and its formsets, by the names that the fields have in the page."""
    errors = {}
    text = [_NOT_TESTED, *form.non_field_errors()]
    children = []
    for formset in form.formsets.values():
        text += formset.non_form_errors()
        children += formset.forms
    for each in (form, *children):
        for name in each.errors:
            if name in each.fields and not each.fields[name].widget.is_hidden:
                errors[each.add_prefix(name)] = list(each.errors[name])
            elif each is not form or name != "__all__":
                text += each.errors[name]
    return CannotTest(422, " ".join(map(str, text)), errors)


class StoredCheckView(CheckView, AdminPage, TemplateView):
    """A page that tests a stored set; its button posts."""

    template_name = "wagtail_smtp/connection_check/page.html"
    header_icon = "mail"

    def has_permission(self):
        return self.is_allowed(self.request.user)

    @cached_property
    def item(self):
        return get_object_or_404(SettingsSet, pk=self.kwargs["pk"])

    def get_page_subtitle(self):
        return str(self.item)

    def get_parents(self):
        return [(_("SMTP settings"), reverse(SETS))]

    def get_context_data(self, **kwargs):
        is_held = self.kind == EMAIL and is_email_held()
        return super().get_context_data(**kwargs) | {
            "item": self.item,
            "test_url": self.request.path,
            "test_kind": self.kind,
            "address_form": self.kind == EMAIL
            and AddressForm.for_user(self.request.user, is_held=is_held),
            "is_held": is_held,
        }

    def get_set(self):
        item = self.stored_set()
        if item is None:
            raise CannotTest(404, _DELETED)
        return self.stored_values(item)


class ConnectionCheckView(StoredCheckView):
    """Tests only the connection."""

    name, kind, button_icon = "test_connection", CONNECTION, "link"
    page_title = gettext_lazy("Test connection")
    is_allowed = staticmethod(permissions.may_test)


class EmailCheckView(StoredCheckView):
    """Sends a test email through the set."""

    name, kind, button_icon = "send_test_email", EMAIL, "mail"
    page_title = gettext_lazy("Send test email")
    is_allowed = staticmethod(permissions.may_send_through)


def urlpatterns(viewset):
    """Return the URLs of the tests, below those of the snippet."""
    typed = viewset.construct_view(FormCheckView, form_class=viewset.get_form_class())
    return [
        path("test/", typed, name="test_new"),
        path("test/<int:pk>/", typed, name="test_typed"),
        *(
            path(
                f"{view.name.replace('_', '-')}/<int:pk>/",
                viewset.construct_view(view),
                name=view.name,
            )
            for view in (ConnectionCheckView, EmailCheckView)
        ),
    ]
