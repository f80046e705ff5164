"""The view that sends an invoice."""

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from example_site.home.invoice import send_invoice


class InvoiceForm(forms.Form):
    """The invoice's recipient."""

    name = forms.CharField(max_length=80, initial="Ada Customer")
    email = forms.EmailField(initial="ada@example.com")


def invoice(request: HttpRequest) -> HttpResponse:
    """Send an invoice with an attached PDF."""
    context: dict[str, object] = {}
    status = 200
    form = InvoiceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            context["number"] = send_invoice(form.cleaned_data["name"], form.cleaned_data["email"])
        except OSError as error:  # all delivery errors are OSErrors
            context["error"], status = error, 502
    return render(request, "home/invoice.html", context | {"form": form}, status=status)
