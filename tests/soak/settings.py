"""Settings of the processes of a long run."""

from tests.processes.programs.settings import *  # noqa: F403
from tests.soak import blocks

# Only the workers deliver the outbox.
TASKS = {"default": {"BACKEND": "tests.soak.tasks.Nowhere"}}
WAGTAIL_SMTP = {
    **WAGTAIL_SMTP,  # noqa: F405
    # What hangs is given up soon, or few messages would be sent.
    "FINAL_REPLY_TIMEOUT": 2,
    "FINAL_REPLY_TIMEOUT_IN_WORKERS": 2,
    "OUTBOX_LEASE": 120,
    "OUTBOX_POLL": 0.2,
    "OUTBOX_RETRY_AFTER": 1,
    "COOL_DOWN": 0.1,
    "ALERT_INTERVAL": 3600,
    "SESSION_MAX_IDLE": 5,
}
if "sqlite" in DATABASES["default"]["ENGINE"]:  # noqa: F405
    # As projects with several processes set it up.
    DATABASES["default"]["OPTIONS"] |= {  # noqa: F405
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        "transaction_mode": "IMMEDIATE",
    }
blocks.report_in_children()
