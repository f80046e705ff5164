"""The chooser for the user who is notified about messages that are too large.

It works with any user model: one without names, groups, ``is_active`` or a numeric primary key.
"""

from django import forms
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import Q
from django.http import Http404
from django.utils.translation import gettext_lazy
from wagtail.admin.forms.choosers import BaseFilterForm
from wagtail.admin.ui.tables import Column
from wagtail.admin.utils import get_user_display_name
from wagtail.admin.views.generic import chooser
from wagtail.admin.viewsets.chooser import ChooserViewSet
from wagtail.admin.widgets import BaseChooser

from wagtail_smtp.admin.base import RequiresPermission, RequiresTables, WagtailView
from wagtail_smtp.admin.permissions import ADD_SETS, CHANGE_SETS
from wagtail_smtp.runtime.project import address_of


def _has_field(model: type[AbstractBaseUser], name: str) -> bool:
    try:
        return not model._meta.get_field(name).is_relation
    except FieldDoesNotExist:
        return False


def is_key(model: type[AbstractBaseUser], value: str) -> bool:
    """Whether ``value`` can be a primary key; the database may fail on other values."""
    try:
        model._meta.pk.clean(value, None)
    except (ValidationError, ValueError, OverflowError):
        return False
    return True


class SearchForm(BaseFilterForm):
    """Search by username, email address and name, as far as the user model has them."""

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
            model = objects.model
            names = {model.USERNAME_FIELD, model.get_email_field_name(), "first_name", "last_name"}
            match = Q()
            for name in names:
                if _has_field(model, name):
                    match |= Q(**{f"{name}__icontains": term})
            objects = objects.filter(match)
        return super().filter(objects)


class SetEditorsOnly(RequiresPermission):
    """View mixin: only users who may add or change sets can see other users."""

    any_permission_required = (ADD_SETS, CHANGE_SETS)


class ListsUsers(SetEditorsOnly, WagtailView):
    """View mixin: list users with their email address."""

    filter_form_class = SearchForm

    @property
    def title_column(self):
        column = super().title_column
        column.accessor = get_user_display_name
        return column

    @property
    def columns(self):
        address = Column("address", label=gettext_lazy("Email"), accessor=address_of)
        return [*super().columns, address]


class ChooseView(ListsUsers, chooser.ChooseView):
    """The dialog."""


class ChooseResultsView(ListsUsers, chooser.ChooseResultsView):
    """One page of the dialog, or search results."""


class ChosenView(SetEditorsOnly, chooser.ChosenView):
    """The response after a user was chosen."""

    def get_object(self, pk):
        if not is_key(self.model_class, pk):
            raise Http404
        return super().get_object(pk)

    def get_display_title(self, instance):
        return get_user_display_name(instance)


class ChosenMultipleView(SetEditorsOnly, chooser.ChosenMultipleView):
    """The same for several users. The widget doesn't use it, but its URL exists."""

    def get_objects(self, pks):
        return super().get_objects([pk for pk in pks if is_key(self.model_class, pk)])


class Widget(BaseChooser):
    """Shows no user for an invalid key; the form reports the error."""

    def get_instance(self, value):
        is_user = isinstance(value, self.model_class)
        return super().get_instance(value if is_user or is_key(self.model_class, value) else None)

    def get_display_title(self, instance):
        return get_user_display_name(instance)


class NotifyUserViewSet(RequiresTables, ChooserViewSet):
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

    @property
    def model(self):
        """The user model, which is known only after the apps are loaded."""
        return get_user_model()

    def get_object_list(self):
        """Return the users to choose from; Wagtail gives this method to its views."""
        users = get_user_model()._default_manager.all()
        return users.filter(is_active=True) if _has_field(users.model, "is_active") else users

    def get_urlpatterns(self):
        """Leave out Wagtail's page for new users, which would fail without a form."""
        return [each for each in super().get_urlpatterns() if each.name != "create"]
