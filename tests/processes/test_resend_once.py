"""A resend that is confirmed several times at once is done once."""

import pytest

from tests.processes.conftest import Environment
from tests.processes.programs.resend_console import ResendConsole

pytestmark = pytest.mark.same_on_all_versions


def test_one_of_many_clicks_is_first(database: Environment) -> None:
    with ResendConsole(database) as console:
        console("migrate")
        for _round in range(3):
            assert console("claim_at_once", count=8, atomic=False) == [1, 1]
            assert console("claim_at_once", count=8, atomic=False, in_bulk=True) == [1, 1]


@pytest.mark.postgres
def test_a_claim_outlives_the_transaction_of_its_request(postgresql_database: Environment) -> None:
    with ResendConsole(postgresql_database) as console:
        console("migrate")
        assert console("claim_at_once", count=4, atomic=True) == [1, 1]
        assert console("claim_at_once", count=8, atomic=False, in_bulk=True) == [1, 1]
