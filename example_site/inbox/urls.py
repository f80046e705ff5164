"""URLs of the inbox."""

from django.urls import path

from example_site.inbox import views

app_name = "inbox"
urlpatterns = [
    path("", views.index, name="index"),
    path("<slug:server>/<int:number>/", views.message, name="message"),
    path("<slug:server>/<int:number>/<int:position>/", views.attachment, name="attachment"),
]
