"""A form field for a secret that is stored here, or read from a variable or a file."""

from dataclasses import dataclass, field
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.config.references import Reference, Source

STORED = "stored"
SOURCES = {
    STORED: gettext_lazy("Stored here"),
    "env": gettext_lazy("From an environment variable"),
    "file": gettext_lazy("From a file"),
}
_NAMES = {
    "env": gettext_lazy("Name of the variable"),
    "file": gettext_lazy("Path of the file"),
}


@dataclass(frozen=True, slots=True)
class Entered:
    """What was posted: the chosen source, the typed secret, and a variable's name or a path."""

    source: str = STORED
    typed: Any = field(default="", repr=False)
    name: str = ""

    @classmethod
    def of(cls, value: "Entered | Reference | None") -> "Entered":
        """Convert the initial value of a form, which is a reference or None."""
        if isinstance(value, Reference):
            return cls(value.source, "", value.name)
        return value or cls()

    @property
    def reference(self) -> Reference | None:
        """The chosen variable or file; None if the secret is stored here."""
        return None if self.source == STORED else Reference(cast(Source, self.source), self.name)


class SourceWidget(forms.Widget):
    """Widget mixin: adds the choice of the source, and a field for a variable's name or a path.

    The secret itself is never rendered. Its input has the field's own name; the others add
    ``_source`` and ``_name``.
    """

    template_name = "wagtail_smtp/settings_sets/secret_widget.html"
    #: The template of the input for the secret itself.
    input_template: str
    #: The field's label.
    label: Any = ""

    @sensitive_variables()
    def value_from_datadict(self, data, files, name):
        source = data.get(f"{name}_source", STORED)
        return Entered(
            source if source in SOURCES else STORED,
            super().value_from_datadict(data, files, name),
            data.get(f"{name}_name", "").strip(),
        )

    def get_context(self, name, value, attrs):
        entered = Entered.of(value)
        context = super().get_context(name, None, attrs)
        allowed = {"env": conf.SECRET_VARIABLES, "file": conf.SECRET_DIRECTORIES}
        # A saved source is shown even if the settings don't allow it any more.
        offered = [each for each in allowed if allowed[each] or each == entered.source]
        attrs = context["widget"]["attrs"]
        described_by = [f"{attrs.get('id')}_allowed", attrs.get("aria-describedby")]
        context["widget"] |= {
            "input_template": self.input_template,
            "label": self.label,
            "source": entered.source,
            "sources": {each: SOURCES[each] for each in (STORED, *offered)} if offered else {},
            "reference_name": entered.name,
            "name_labels": {each: _NAMES[each] for each in offered},
            "allowed": {each: ", ".join(allowed[each]) for each in offered},
            "is_invalid": "aria-invalid" in attrs and entered.source != STORED,
            "described_by": " ".join(filter(None, described_by)),
        }
        return context


class SecretInput(SourceWidget, forms.PasswordInput):
    """One line."""

    input_template = forms.PasswordInput.template_name


class SecretTextarea(SourceWidget, forms.Textarea):
    """Several lines, such as a key file."""

    input_template = forms.Textarea.template_name


class ReferableField(forms.CharField):
    """An optional secret. Its cleaned value is a text or a :class:`Reference`.

    Its initial value is the saved reference, or None. A saved secret is never rendered.
    """

    def __init__(self, *, widget=None, max_length=4096, **kwargs):
        widget = widget or SecretInput(attrs={"autocomplete": "new-password"})
        super().__init__(required=False, max_length=max_length, widget=widget, **kwargs)
        self.widget.label = self.label

    @sensitive_variables()
    def clean(self, value):
        entered = Entered.of(value)
        reference = entered.reference
        if reference is None:
            return super().clean(entered.typed)
        if not reference.name:
            is_file = reference.source == "file"
            raise ValidationError(
                _("Enter the file's path.") if is_file else _("Enter the variable's name.")
            )
        if refusal := reference.refusal():
            raise ValidationError(refusal)
        return reference

    @sensitive_variables()
    def has_changed(self, initial, data):
        entered = Entered.of(data)
        if entered.reference is None and initial is None:
            return super().has_changed(None, entered.typed)
        return not self.disabled and entered.reference != initial
