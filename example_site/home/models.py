"""The pages of the demo."""

from typing import Any

from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from modelcluster.fields import ParentalKey
from wagtail.admin.panels import FieldPanel, FieldRowPanel, InlinePanel, MultiFieldPanel
from wagtail.contrib.forms.models import AbstractEmailForm, AbstractFormField
from wagtail.fields import RichTextField
from wagtail.models import Page

from example_site import places
from example_site.home.users import ROLES
from wagtail_smtp import live
from wagtail_smtp.models import SettingsSet


class HomePage(Page):
    """The home page, with five steps to try."""

    intro = RichTextField(blank=True)
    content_panels = [*Page.content_panels, FieldPanel("intro")]
    max_count = 1

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Add the links of the steps and the live version."""
        version = live.live_version()
        sets = version.content.get("sets", []) if version else []
        return super().get_context(request, *args, **kwargs) | {
            "contact": ContactPage.objects.live().first(),
            "version": version,
            "live_sets": sets,
            "redirects": bool(sets and sets[0].get("redirect")),
            "servers": places.SERVERS,
            "authority": places.CA_FILE.read_text(),
            "roles": ROLES,
            "settings_url": reverse(SettingsSet.snippet_viewset.get_url_name("list")),
            "reload_url": reverse("wagtail_smtp_reload:index"),
        }


class FormField(AbstractFormField):
    """A field of the contact form."""

    page = ParentalKey("ContactPage", on_delete=models.CASCADE, related_name="form_fields")


class ContactPage(AbstractEmailForm):
    """Wagtail's form page, which emails each submission."""

    intro = RichTextField(blank=True)
    thank_you_text = RichTextField(blank=True)
    content_panels = [
        *AbstractEmailForm.content_panels,
        FieldPanel("intro"),
        InlinePanel("form_fields", label="Form fields"),
        FieldPanel("thank_you_text"),
        MultiFieldPanel(
            [
                FieldRowPanel([FieldPanel("from_address"), FieldPanel("to_address")]),
                FieldPanel("subject"),
            ],
            "Email",
        ),
    ]

    def serve(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show an error if the message can't be sent; the submission is saved."""
        try:
            return super().serve(request, *args, **kwargs)
        except OSError as error:  # all delivery errors are OSErrors
            form = self.get_form(request.POST, request.FILES, page=self, user=request.user)
            context = self.get_context(request) | {"form": form, "error": error}
            return TemplateResponse(request, self.get_template(request), context, status=502)
