"""Sphinx configuration. Run ``make docs`` to build the site."""

import sys
import tomllib
from pathlib import Path

import django
from django.conf import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# The Python API is documented from its docstrings, which needs Django's app registry.
settings.configure(
    INSTALLED_APPS=[
        "wagtail_smtp",
        "wagtail.snippets",
        "wagtail.users",
        "wagtail.images",
        "wagtail.documents",
        "wagtail.search",
        "wagtail.admin",
        "wagtail",
        "taggit",
        "modelcluster",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    SECRET_KEY="documentation",  # noqa: S106
    STATIC_URL="/static/",
    USE_TZ=True,
    WAGTAIL_SITE_NAME="Documentation",
    WAGTAILADMIN_BASE_URL="https://example.com",
)
django.setup()

import wagtail_smtp  # noqa: E402

with (ROOT / "pyproject.toml").open("rb") as file:
    REPOSITORY = tomllib.load(file)["project"]["urls"]["Repository"]

project = "wagtail-smtp"
release = version = wagtail_smtp.__version__
author = "The wagtail-smtp contributors"
copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_wagtail_theme",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build"]
templates_path: list[str] = []

# Links to a heading of any level work, and a link to a missing one is a warning.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Only the fixtures need it, and their documentation doesn't.
autodoc_mock_imports = ["pytest"]

# Examples contain placeholders such as "…", which no lexer knows.
suppress_warnings = ["misc.highlighting_failure"]
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "sphinx_wagtail_theme"
html_static_path = ["_static"]
# The JSON Schema of settings files, for editors.
html_extra_path = ["../wagtail_smtp/config_files/schemas"]
html_css_files = ["site.css"]
html_title = "wagtail-smtp"
html_theme_options = {
    "project_name": "wagtail-smtp",
    "logo_alt": "Wagtail",
    "logo_url": "",  # the first page
    "github_url": f"{REPOSITORY}/blob/main/docs/",
    "footer_links": "",
}
html_show_copyright = False
html_copy_source = False
html_last_updated_fmt = ""

# Pages that require a login or refuse programs.
linkcheck_ignore = [
    r"http://127\.0\.0\.1.*",
    r"https://entra\.microsoft\.com.*",
    r"https://admin\.google\.com.*",
    r"https://console\.cloud\.google\.com.*",
]
