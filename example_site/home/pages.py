"""The demo's page tree."""

from wagtail.models import Page, Site

from example_site import places
from example_site.home.models import ContactPage, FormField, HomePage

NAME = "wagtail-smtp demo"


def create() -> None:
    """Replace Wagtail's welcome page with the demo's pages."""
    Page.objects.filter(slug="home", depth=2).delete()
    root = Page.get_first_root_node()
    home = HomePage(title="Manage email in the admin", slug="home", show_in_menus=True)
    home.intro = "<p>Email from this site never leaves your machine. Try anything.</p>"
    root.add_child(instance=home)
    Site.objects.create(
        hostname=places.HOST,
        port=places.site_port(),
        site_name=NAME,
        root_page=home,
        is_default_site=True,
    )
    _add_contact(home)


def _add_contact(home: HomePage) -> None:
    contact = ContactPage(
        title="Contact",
        slug="contact",
        intro="<p>Your message is emailed to people@example.com.</p>",
        thank_you_text="<p>Thank you, your message was sent.</p>",
        to_address="people@example.com",
        subject="A message from the contact page",
    )
    contact.form_fields = [
        FormField(sort_order=1, label="Name", field_type="singleline", required=True),
        FormField(sort_order=2, label="Email", field_type="email", required=True),
        FormField(sort_order=3, label="Message", field_type="multiline", required=True),
    ]
    home.add_child(instance=contact)


def follow_port() -> None:
    """Update the port of the Wagtail site."""
    Site.objects.filter(hostname=places.HOST, site_name=NAME).update(port=places.site_port())
