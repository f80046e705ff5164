"""The chooser for the user who is notified about messages that are too large."""

from django import forms
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import FieldDoesNotExist, PermissionDenied, ValidationError
from django.db.models import Q
from django.http import Http404
from django.utils.translation import gettext_lazy
from wagtail.admin.forms.choosers import BaseFilterForm
from wagtail.admin.ui.tables import Column
from wagtail.admin.utils import get_user_display_name
from wagtail.admin.views.generic import chooser
from wagtail.admin.viewsets.chooser import ChooserViewSet
from wagtail.admin.widgets import BaseChooser

from wagtail_smtp.admin.base import requires_tables
from wagtail_smtp.admin.permissions import ADD_SETS, CHANGE_SETS
from wagtail_smtp.runtime.project import address_of


class Permitted:
    """View mixin: only users who may add or change sets can see other users."""

    def dispatch(self, request, *args, **kwargs):
        if not any(request.user.has_perm(name) for name in (ADD_SETS, CHANGE_SETS)):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)


class SearchForm(BaseFilterForm):
    """Search by name, username or address, as far as the user model has them."""

    q = forms.CharField(
        label=gettext_lazy("Search term"),
        widget=forms.TextInput(attrs={"placeholder": gettext_lazy("Search")}),
        required=False,
        max_length=100,
    )

    def filter(self, objects):
        term = self.cleaned_data.get("q")
        if term:
            self.is_searching, self.search_query = True, term
            match = Q()
            for name in _search_fields(objects.model):
                match |= Q(**{f"{name}__icontains": term})
            objects = objects.filter(match)
        return super().filter(objects)


def _search_fields(model: type[AbstractBaseUser]) -> list[str]:
    names = [model.USERNAME_FIELD, model.get_email_field_name(), "first_name", "last_name"]
    return [name for name in dict.fromkeys(names) if _has(model, name)]


def _has(model, name):
    try:
        return not model._meta.get_field(name).is_relation
    except FieldDoesNotExist:
        return False


class Choices:
    """View mixin: lists active users with their email address."""

    filter_form_class = SearchForm

    def get_object_list(self):
        users = super().get_object_list()
        return users.filter(is_active=True) if _has(users.model, "is_active") else users

    @property
    def title_column(self):
        column = super().title_column
        column.accessor = get_user_display_name
        return column

    @property
    def columns(self):
        address = Column("address", label=gettext_lazy("Email"), accessor=address_of)
        return [*super().columns, address]


class ChooseView(Permitted, Choices, chooser.ChooseView):
    """The dialog."""


class ChooseResultsView(Permitted, Choices, chooser.ChooseResultsView):
    """One page of the dialog, or search results."""


def is_key(model: type[AbstractBaseUser], value: str) -> bool:
    """Whether a part of a URL can be a primary key; other values may fail in the database."""
    try:
        model._meta.pk.clean(value, None)
    except (ValidationError, ValueError, OverflowError):
        return False
    return True


class ChosenView(Permitted, chooser.ChosenView):
    """The response after a user was chosen."""

    def get_object(self, pk):
        if not is_key(self.model_class, pk):
            raise Http404
        return super().get_object(pk)

    def get_display_title(self, instance):
        return get_user_display_name(instance)


class ChosenMultipleView(Permitted, chooser.ChosenMultipleView):
    """Not used by the widget, but the URL exists."""

    def get_objects(self, pks):
        return super().get_objects([pk for pk in pks if is_key(self.model_class, pk)])


class NoCreateView(chooser.CreateView):
    """Users can't be created here; Wagtail's view would fail because it has no form."""

    def dispatch(self, *args, **kwargs):
        raise Http404


class Widget(BaseChooser):
    """Shows no user for an invalid key; the form reports the error."""

    def get_value_data(self, value):
        try:
            return super().get_value_data(value)
        except (ValueError, ValidationError, self.model_class.DoesNotExist):
            return None

    def get_display_title(self, instance):
        return get_user_display_name(instance)


@requires_tables
class NotifyUserViewSet(ChooserViewSet):
    """Registers the chooser's pages; other forms keep their own widget for users."""

    name = "wagtail_smtp_notify_user"
    url_prefix = "email/notify-user"
    icon = "user"
    choose_one_text = gettext_lazy("Choose a user")
    choose_another_text = gettext_lazy("Choose another user")
    register_widget = False
    base_widget_class = Widget
    choose_view_class = ChooseView
    choose_results_view_class = ChooseResultsView
    chosen_view_class = ChosenView
    chosen_multiple_view_class = ChosenMultipleView
    create_view_class = NoCreateView

    @property
    def model(self):
        """The user model, which is known only after the apps are loaded."""
        return get_user_model()
