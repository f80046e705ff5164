"""Test a set, as typed into its form or as stored."""

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import TemplateView, View
from wagtail.admin import messages
from wagtail.admin.ui.menus import MenuItem
from wagtail.admin.views.generic.base import WagtailAdminTemplateMixin
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.connection_check.checked_set import STORED, TYPED, CheckedSet
from wagtail_smtp.admin.connection_check.stream import NotNow, Running, problem, stream
from wagtail_smtp.admin.sets.form import SECRET_FIELDS
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.diagnostics.check_set import sender_hints
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live import draft_configuration
from wagtail_smtp.models import DeliverySettings, ReportEmail, Secret, SettingsSet
from wagtail_smtp.runtime.project import address_of

URLS = "wagtailsnippets_wagtail_smtp_settingsset"


class AddressForm(forms.Form):
    """Who gets the test email."""

    test_address = forms.CharField(
        label=gettext_lazy("Send test email to"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )

    @classmethod
    def of(cls, user):
        """The form with the user's own address in it."""
        return cls(initial={"test_address": address_of(user)})

    def clean_test_address(self):
        address = self.cleaned_data["test_address"]
        if not is_email_address(address):
            raise ValidationError(_("Enter a valid email address."))
        return address


class OffersTests:
    """View mixin of a set's form: test buttons, and hints about its sender."""

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        stored = self.form.instance if self.form.instance.pk else None
        may_send = self.request.user.has_perm(permissions.SEND_TEST)
        url = reverse(f"{URLS}:test_typed", args=[stored.pk]) if stored else None
        view = "edit" if stored else "create"
        return context | {
            # The template extends this one.
            "wagtails_form": f"wagtailsnippets/snippets/{view}.html",
            "test_url": url or reverse(f"{URLS}:test_new"),
            "address_form": AddressForm.of(self.request.user) if may_send else None,
            "sender_hints": _hints(stored) if stored else [],
        }

    def save_action(self):
        response = super().save_action()
        for hint in _hints(self.object):
            messages.warning(self.request, hint)
        return response


def _hints(item):
    found = sender_hints(draft_configuration())
    return [str(hint.message) for hint in found if hint.set_name == item.name]


def check_buttons(item, request):
    """The listing's row actions that test a stored set."""
    offered = (
        ("send_test_email", _("Send test email"), "mail", permissions.may_send_through),
        ("test_connection", _("Test connection"), "link", permissions.may_test),
    )
    return [
        MenuItem(label, reverse(f"{URLS}:{name}", args=[item.pk]), icon_name=icon, priority=at)
        for at, (name, label, icon, is_allowed) in enumerate(offered, start=11)
        if is_allowed(request.user)
    ]


#: What is asked for in ``test``: the connection alone, or a test email to ``test_address``.
CONNECTION, EMAIL = "connection", "email"


class RunsTest(View):
    """A POST runs a test and streams its stages; nothing is saved.

    The test runs while the response is read, without a lock or a transaction.
    """

    def begin(self, request, kind):
        """Make the test ready and return the response that runs it."""
        address = None
        if kind == EMAIL:
            form = AddressForm(request.POST)
            if not form.is_valid():
                errors = {"test_address": form.errors["test_address"]}
                return problem(422, _("The test email was not sent. Correct its address."), errors)
            address = form.cleaned_data["test_address"]
        subject = self.subject()
        if not isinstance(subject, tuple):
            return subject
        try:
            trial = CheckedSet.of(*subject, address)
        except EmailDeliveryError as error:
            return problem(409, error)
        running = Running(request.user)
        try:
            running.begin()
        except NotNow as error:
            return problem(429, error, wait=error.seconds)
        try:
            self.note(trial, address)
        except BaseException:
            running.end()
            raise
        return stream(request, trial, running)

    def subject(self):
        """The set as plain values, its secret and where that is from; or a response."""
        raise NotImplementedError

    def note(self, trial, address):
        """Write the audit entry, always before the connection is opened."""
        item, server = self.stored(), trial.server
        data = {"server": f"{server.host}:{server.port}", "set": trial.item.name}
        if address is not None:
            data |= {"address": address, "recipients": list(trial.outgoing.envelope.recipients)}
        action = "test_connection" if address is None else "send_test_email"
        # A set that isn't stored yet can't have an audit entry of its own.
        log(instance=item or DeliverySettings.load(), action=f"wagtail_smtp.{action}", data=data)

    def stored(self):
        """The stored set, or None for one that isn't, or not any more."""
        return SettingsSet.objects.filter(pk=self.kwargs.get("pk")).first()


@method_decorator(sensitive_post_parameters(*SECRET_FIELDS), name="dispatch")
class TypedTestView(RunsTest):
    """Tests the values in the form of a new or stored set."""

    panel = None
    http_method_names = ["post"]

    def dispatch(self, request, *args, **kwargs):
        needed = [permissions.CHANGE_SETS if "pk" in kwargs else permissions.ADD_SETS]
        self.kind = EMAIL if request.POST.get("test") == EMAIL else CONNECTION
        if self.kind == EMAIL:
            needed.append(permissions.SEND_TEST)
        if not all(request.user.has_perm(each) for each in needed):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    def post(self, request, *args, **kwargs):
        return self.begin(request, self.kind)

    def subject(self):
        instance = self.stored()
        if instance is None:
            if "pk" in self.kwargs:
                return problem(404, _DELETED)
            instance = SettingsSet()
        form_class = self.panel.get_form_class()
        form = form_class(self.request.POST, instance=instance, for_user=self.request.user)
        if not form.is_valid():
            return _invalid(form)
        item, secret = form.typed()
        if item.authentication == "password" and secret is None:
            return problem(422, _NOT_TESTED, {"password": [_("Enter the password.")]})
        return item, secret, TYPED if form.typed_secret() else STORED


_DELETED = gettext_lazy("Someone has deleted this settings set.")
_NOT_TESTED = gettext_lazy("Nothing was tested. Correct the errors in the form and test again.")


def _invalid(form):
    """The errors of form and formsets, by the names their fields have in the page."""
    errors = {}
    text = [str(_NOT_TESTED), *form.non_field_errors()]
    for formset in form.formsets.values():
        text += formset.non_form_errors()
    children = [child for formset in form.formsets.values() for child in formset.forms]
    for each in (form, *children):
        for name in each.errors:
            if name in each.fields and not each.fields[name].widget.is_hidden:
                errors[each.add_prefix(name)] = list(each.errors[name])
            elif each is not form or name != "__all__":
                text += each.errors[name]
    return problem(422, " ".join(map(str, text)), errors)


class StoredTestView(RunsTest, WagtailAdminTemplateMixin, TemplateView):
    """A page that tests a stored set; its button posts."""

    template_name = "wagtail_smtp/settings_sets/test.html"
    kind = CONNECTION
    header_icon = "mail"
    is_allowed = staticmethod(permissions.may_test)

    def dispatch(self, request, *args, **kwargs):
        if not self.is_allowed(request.user):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    @cached_property
    def item(self):
        return get_object_or_404(SettingsSet, pk=self.kwargs["pk"])

    def get_page_subtitle(self):
        return str(self.item)

    def get_breadcrumbs_items(self):
        return [
            *self.breadcrumbs_items,
            {"url": reverse(f"{URLS}:list"), "label": _("SMTP settings")},
            {"url": "", "label": f"{self.get_page_title()}: {self.item}"},
        ]

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {
            "item": self.item,
            "test_url": self.request.path,
            "test_kind": self.kind,
            "address_form": AddressForm.of(self.request.user) if self.kind == EMAIL else None,
        }

    def post(self, request, *args, **kwargs):
        return self.begin(request, self.kind)

    def subject(self):
        item = self.stored()
        if item is None:
            return problem(404, _DELETED)
        reports = ReportEmail.objects.filter(settings_set=item)
        # Not through the foreign key, which may read from a replica.
        secret = Secret.objects.filter(pk=item.secret_id).first()
        return item.frozen(reports), secret, STORED


class TestConnectionView(StoredTestView):
    """Tests the connection alone."""

    page_title = gettext_lazy("Test connection")


class SendTestEmailView(StoredTestView):
    """Sends a test email through the set."""

    page_title = gettext_lazy("Send test email")
    kind = EMAIL
    is_allowed = staticmethod(permissions.may_send_through)


def urlpatterns(viewset):
    """The URLs of the tests, below those of the snippet."""
    typed = viewset.construct_view(TypedTestView, panel=viewset._edit_handler)
    stored = {"test_connection": TestConnectionView, "send_test_email": SendTestEmailView}
    return [
        path("test/", typed, name="test_new"),
        path("test/<int:pk>/", typed, name="test_typed"),
        *(
            path(f"{name.replace('_', '-')}/<int:pk>/", viewset.construct_view(view), name=name)
            for name, view in stored.items()
        ),
    ]
