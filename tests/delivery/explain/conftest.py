"""Live settings sets whose routes and redirects are explained."""

import pytest


@pytest.fixture
def sets(make_set, reload):
    make_set(name="Main", redirect=True, reports=["qa@example.com"])
    make_set(name="Invoices", categories=["invoice"])
    make_set(name="Spare", backup=True)
    make_set(name="Rest")
    reload()
