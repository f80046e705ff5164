"""Where providers report deliveries to; the project includes it outside the admin:

path("email/reports/", include("wagtail_smtp.urls"))
"""

from django.urls import path

from wagtail_smtp.tracking.webhook import receive

app_name = "wagtail_smtp"
urlpatterns = [path("<uuid:key>/<slug:transport>/", receive, name="reports")]
