"""The webhook for delivery tracking. Include it in the project's URLs, outside the admin:

path("email/webhooks/", include("wagtail_smtp.urls"))
"""

from django.urls import path

from wagtail_smtp.tracking import receive

app_name = "wagtail_smtp"
urlpatterns = [path("<uuid:key>/<slug:transport>/", receive, name="webhook")]
