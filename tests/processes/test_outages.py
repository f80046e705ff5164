"""What a database that fails does to email, and email to the caller's transaction."""

from collections.abc import Iterator

import pytest

from tests.processes.programs.console import Console, set_for, subjects
from tests.support.servers.postgres import PostgreSQL, required_programs
from tests.support.servers.smtp_server import SMTPServer

pytestmark = pytest.mark.same_on_all_versions

KEPT = "version 1, loaded earlier, is used"


@pytest.fixture
def own_postgresql() -> Iterator[PostgreSQL]:
    """A server that no other test uses, so that it may be stopped."""
    with PostgreSQL(required_programs()) as server:
        yield server


@pytest.mark.postgres
def test_what_was_loaded_holds_while_postgresql_is_down(
    own_postgresql: PostgreSQL, smtp_server: SMTPServer, other_server: SMTPServer
) -> None:
    environment = own_postgresql.environment
    with Console(environment) as worker, Console(environment) as editor:
        editor("migrate")
        editor("make_sets", servers=[set_for(smtp_server), set_for(other_server)])
        assert worker("send", subject="before") == []

        own_postgresql.stop()
        warning, not_logged = worker("send", subject="while down")
        assert KEPT in warning
        assert "delivery log can't be written now; it will be written later" in not_logged
        assert subjects(smtp_server) == ["before", "while down"]

        own_postgresql.start()
        assert worker("send", subject="back") == []
        with Console(environment) as other:
            other("switch")
        assert worker("send", subject="switched") == []

    assert subjects(smtp_server) == ["before", "while down", "back"]
    assert subjects(other_server) == ["switched"]


@pytest.mark.postgres
def test_a_restart_between_two_messages_goes_unnoticed(
    own_postgresql: PostgreSQL, smtp_server: SMTPServer
) -> None:
    with Console(own_postgresql.environment) as worker:
        worker("migrate")
        worker("make_sets", servers=[set_for(smtp_server)])
        worker("send", subject="before")
        own_postgresql.stop()
        own_postgresql.start()

        assert worker("send", subject="after") == []

    assert subjects(smtp_server) == ["before", "after"]


@pytest.mark.postgres
def test_a_broken_transaction_does_not_keep_error_mail_back(
    postgresql_database: dict[str, str], smtp_server: SMTPServer
) -> None:
    with Console(postgresql_database) as worker:
        worker("migrate")
        worker("make_sets", servers=[set_for(smtp_server)])
        worker("send", subject="before")

        [warning] = worker("mail_admins_in_broken_transaction", subject="broken")
        assert KEPT in warning
        assert worker("send", subject="after") == []

    assert subjects(smtp_server) == ["before", "[Django] broken", "after"]


@pytest.mark.postgres
def test_a_new_process_in_a_broken_transaction_still_learns_what_is_live(
    postgresql_database: dict[str, str], smtp_server: SMTPServer
) -> None:
    with Console(postgresql_database) as editor:
        editor("migrate")
        editor("make_sets", servers=[set_for(smtp_server)])
    with Console(postgresql_database) as worker:
        assert worker("mail_admins_in_broken_transaction", subject="broken") == []

    assert subjects(smtp_server) == ["[Django] broken"]


@pytest.mark.threat(23)
def test_a_missing_table_leaves_the_transaction_usable(database: dict[str, str]) -> None:
    with Console(database) as worker:
        assert worker("send_without_table") == ["ConfigurationUnavailable", "committed"]
