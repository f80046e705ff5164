"""Pages of a listing that may have a million rows.

The newest rows that match are found by their numbers, up to :data:`CAP`. Only these are counted and
paged through; older ones are in a separate listing, which is searched when it is opened.
"""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from wagtail.admin.forms.search import SearchForm
from wagtail.admin.paginator import WagtailPaginator
from wagtail.admin.views import generic

from wagtail_smtp.admin.base import AdminPage

#: Rows that are counted and paged through.
CAP = 1000
#: The largest number that every database can compare with.
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Found:
    """The numbers of rows that match, the newest first.

    ``rest``: the search can go on before this number; None: everything was searched.
    ``is_cut``: more rows matched than were asked for.
    """

    numbers: list[int]
    rest: int | None = None
    is_cut: bool = False


@dataclass(frozen=True)
class Span:
    """Numbers of rows, from ``first`` to the one before ``before``; None: no limit."""

    first: int | None = None
    before: int | None = None

    def of(self, rows: "QuerySet[Any]", name: str) -> "QuerySet[Any]":
        """Limit ``rows``, which have the number in the field ``name``."""
        if self.first is not None:
            rows = rows.filter(**{f"{name}__gte": self.first})
        return rows if self.before is None else rows.filter(**{f"{name}__lt": self.before})


def number(text):
    """Parse a row's number from a query string; None if it isn't a number."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return min(int(text), _LARGEST)


class FoundPaginator(WagtailPaginator):
    """Pages of what was found, with one query for a page.

    An exact count reads every match: seconds in a log of a million entries.
    """

    object_list: Found

    def rows(self):
        """The rows that the numbers belong to."""
        raise NotImplementedError

    @cached_property
    def count(self):
        return len(self.object_list.numbers)

    def page(self, number):
        number = self.validate_number(number)
        end = min(number * self.per_page, self.count)
        numbers = self.object_list.numbers[(number - 1) * self.per_page : end]
        rows = self.rows().filter(pk__in=numbers).order_by("-pk")
        return self._get_page(list(rows), number, self)


class FoundListView(AdminPage, generic.BaseListingView):
    """Base of the listings. Also set a subclass of :class:`FoundPaginator`.

    Attributes:
        search_hint: what to search for, shown in the empty search field.
    """

    is_searchable = True
    paginate_by = 25
    search_hint: Any = ""

    def find(self, limit: int, before: int | None) -> Found:
        """Find up to ``limit`` rows older than ``before`` that match the filters and the search."""
        raise NotImplementedError

    def get_queryset(self):
        return self.find(CAP, number(self.request.GET.get("before", "")))

    def get_search_form(self):
        data = self.request.GET if self.search_kwarg in self.request.GET else None
        return SearchForm(data, placeholder=self.search_hint)

    def query_string(self, **changes):
        """Return the filters and the search as a query string; ``changes`` of None are removed."""
        query = self.request.GET.copy()
        for name, value in ({self.page_kwarg: None, "_w_filter_fragment": None} | changes).items():
            query.pop(name, None)
            if value is not None:
                query[name] = value
        return "?" + query.urlencode()

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        older = None if context["page_obj"].has_next() else self.object_list.rest
        return context | {
            # Also offered for a single page: filters may find more without reloading the page.
            "select_all": {"has_other_pages": True},
            "select_all_obj_text": _("Select all that match"),
            "model_opts": self.model._meta,
            "older": "" if older is None else self.query_string(before=older),
            "newest": self.query_string(before=None) if "before" in self.request.GET else "",
        }
