"""Saving in the admin is retried if the database ends the transaction because of a deadlock."""

import pytest
from django.db import OperationalError, connection
from django.urls import reverse

from wagtail_smtp.admin.base import PUT_FIRST
from wagtail_smtp.live.db import autonomous
from wagtail_smtp.models import DeliverySettings, SettingsSet

pytestmark = pytest.mark.django_db(transaction=True)


class Deadlock(Exception):
    """The exception of a PostgreSQL driver."""

    sqlstate = "40P01"


class Once:
    """A Django execute wrapper: the first statement with this start meets a deadlock."""

    def __init__(self, begins):
        self.begins, self.met = begins, 0

    def __call__(self, execute, sql, *args):
        if sql.startswith(self.begins) and not self.met:
            self.met += 1
            raise OperationalError("deadlock detected") from Deadlock()
        return execute(sql, *args)


SETS = f"UPDATE {connection.ops.quote_name(SettingsSet._meta.db_table)}"
LOCK = f"UPDATE {connection.ops.quote_name(DeliverySettings._meta.db_table)}"


def _post(client, begins, url, data):
    with connection.execute_wrapper(once := Once(begins)):
        response = client.post(url, data)
    assert (once.met, response.status_code) in ((1, 302), (1, 200))


def test_delivery_method(admin_client):
    _post(
        admin_client,
        LOCK,
        reverse("wagtail_smtp_delivery:index"),
        {"method": "standard", "loaded_revision": "0"},
    )
    assert DeliverySettings.objects.get().method == "standard"


@pytest.mark.parametrize("begins", [LOCK, SETS])
def test_put_first(admin_client, make_set, begins):
    make_set(name="First", sort_order=0)
    second = make_set(name="Second", sort_order=1)
    _post(admin_client, begins, reverse(PUT_FIRST, args=[second.pk]), {})
    names = SettingsSet.objects.order_by("sort_order").values_list("name", flat=True)
    assert list(names) == ["Second", "First"]


def test_beside_the_caller(make_set):
    item = make_set(name="First")
    with connection.execute_wrapper(once := Once(SETS)):
        rows = SettingsSet.objects.filter(pk=item.pk)
        assert autonomous.write(lambda: rows.update(name="Changed"), "default") == 1
    assert once.met == 1
