"""Take each defence of the table of incidents away, and expect that its test fails.

``python -m tests.threats.without_defences`` works on a copy of the repository and prints, for each
row, what was removed and which assertion failed. Numbers as arguments select rows.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Removal:
    """A defence of row ``row``: ``old`` in ``file`` becomes ``new``, and ``test`` has to fail.

    ``timeout`` in seconds, for a test that hangs without its defence; 0: none.
    """

    row: int
    what: str
    file: str
    old: str
    new: str
    test: str
    timeout: int = 0


REMOVALS = [
    Removal(
        1,
        "the permission to see a message's content",
        "admin/log/message.py",
        "permission_required = (permissions.VIEW_LOG, permissions.VIEW_CONTENT)",
        "permission_required = ()",
        "admin/test_roles.py::test_every_role[wagtail_smtp_log:frame-get]",
    ),
    Removal(
        2,
        "the permission to see the log",
        "admin/log/listing.py",
        "permission_required = permissions.VIEW_LOG",
        "permission_required = ()",
        "admin/test_roles.py::test_every_role[wagtail_smtp_log:index-get]",
    ),
    Removal(
        3,
        "the original recipients of a resend",
        "maintenance/resend.py",
        "    message = stored_message.load(entry)\n",
        "    message = stored_message.load(entry)\n    message.to = ['attacker@example.com']\n",
        "admin/log/test_actions.py::test_resend_goes_to_the_original_recipients_and_nobody_else",
    ),
    Removal(
        4,
        "the escape before a formula",
        "admin/log/export.py",
        'return f"\'{value}" if _STARTS.match(value) else value',
        "return value",
        "admin/log/test_actions.py::test_formulas_are_neutralised",
    ),
    Removal(
        5,
        "the permission to export",
        "admin/log/export.py",
        "permission_required = (permissions.VIEW_LOG, permissions.EXPORT_LOG)",
        "permission_required = permissions.VIEW_LOG",
        "admin/test_roles.py::test_every_role[wagtail_smtp_log:export-post]",
    ),
    Removal(
        6,
        "smtplib's transcript switched off",
        "transports/smtp/connect.py",
        '        config = self._config\n        self.at = "resolve"\n',
        "        config = self._config\n        self.set_debuglevel(1)\n"
        '        self.at = "resolve"\n',
        "threats/test_defences.py::test_sending_writes_no_file_and_no_transcript",
    ),
    Removal(
        7,
        "a password field that shows nothing",
        "admin/sets/secret_field.py",
        "        context = super().get_context(name, None, attrs)\n",
        "        context = super().get_context(name, None, attrs)\n"
        "        context['widget']['value'] = entered.typed\n",
        "admin/sets/test_viewset.py::test_the_password_is_on_no_page",
    ),
    Removal(
        8,
        "the response to a login without what it echoes",
        "transports/smtp/connect.py",
        "said = response_text(_scrubbed(reply, config.username, proof))",
        "said = response_text(reply)",
        "threats/test_canaries.py::test_logs_errors_objects_and_telemetry",
    ),
    Removal(
        9,
        "the binding of a password to its server",
        "config/crypto.py",
        'if content["binding"] != dict(binding):',
        "if False:",
        "live/test_publish.py::test_a_password_is_not_sent_to_another_server",
    ),
    Removal(
        10,
        "the guard of connections",
        "transports/guard.py",
        "    if any(_is_never_allowed(candidate) for candidate in candidates):\n",
        "    if False:\n",
        "transports/test_guard.py::test_never_connected_to",
    ),
    Removal(
        11,
        "the sandbox of a message",
        "admin/log/message.py",
        "_FRAME_POLICY = \"sandbox; default-src 'none';",
        "_FRAME_POLICY = \"default-src 'self';",
        "admin/log/test_entry.py::test_the_message_stands_in_a_frame_that_can_do_nothing",
    ),
    Removal(
        12,
        "a format that can't contain code",
        "delivery/log/stored_message.py",
        "        return _thawed(_read_pieces(bytes(content), entry_id))\n",
        "        import pickle\n        pickle.loads(crypto.unseal(bytes(content)))\n"
        "        return _thawed(_read_pieces(bytes(content), entry_id))\n",
        "threats/test_defences.py::test_an_object_in_the_log_is_never_loaded",
    ),
    Removal(
        13,
        "attachments that are only downloaded",
        "admin/log/message.py",
        'response["Content-Disposition"] = content_disposition_header(True, name)',
        'response["Content-Disposition"] = content_disposition_header(False, name)',
        "admin/log/test_entry.py::test_attachments",
    ),
    Removal(
        14,
        "a message that the server only stores",
        "admin/log/message.py",
        "    def response_for(self, entry, message):\n        page = render_to_string(",
        "    def response_for(self, entry, message):\n        import re, urllib.request\n"
        "        for url in re.findall('http[^\"]+', message.body('html') or '')[:1]:\n"
        "            urllib.request.urlopen(url)\n        page = render_to_string(",
        "threats/test_defences.py::test_nothing_in_a_message_is_fetched",
    ),
    Removal(
        15,
        "the check of addresses in SMTP commands",
        "transports/smtp/transaction.py",
        "    if _NOT_IN_PATH.search(address):\n",
        "    if False:\n",
        "transports/smtp/test_transport.py::test_an_address_cannot_carry_a_command",
    ),
    Removal(
        16,
        "the way to report a vulnerability",
        "../SECURITY.md",
        "## Report a vulnerability",
        "## Bugs",
        "threats/test_defences.py::test_a_vulnerability_can_be_reported_in_private",
    ),
    Removal(
        17,
        "the silence before a TLS handshake",
        "transports/smtp/connect.py",
        "            if not self.stream.is_silent():\n",
        "            if False:\n",
        "transports/test_guard.py::test_replies_ahead_of_the_handshake_are_refused",
    ),
    Removal(
        18,
        "the largest number of lines in a reply",
        "transports/smtp/stream.py",
        "        while len(lines) < MAX_LINES:\n",
        "        self._until = deadline = math.inf\n        while True:\n",
        "diagnostics/test_check_set.py::test_no_server_can_keep_a_test_from_ending[banner endless]",
        timeout=60,
    ),
    Removal(
        19,
        "the mark of a form's secrets for error reports",
        "admin/sets/viewset.py",
        "    @method_decorator(sensitive_post_parameters(*SECRET_FIELDS))\n",
        "",
        "admin/sets/test_error_mail.py::test_the_mail_to_admins_has_no_password",
    ),
    Removal(
        20,
        "the redirect that the project's settings force",
        "delivery/routing.py",
        "    if forced is not None:\n        return _usable(forced, FORCED)\n",
        "",
        "delivery/test_outgoing.py::test_a_forced_redirect_holds_over_sets",
    ),
    Removal(
        21,
        "the fixed server of default credentials",
        "live/resolve.py",
        "        host=server.host,\n        port=server.port,\n",
        "        host=item.host or server.host,\n        port=item.port or server.port,\n",
        "live/test_publish.py::test_default_credentials_go_to_standard_delivery_only",
    ),
    Removal(
        22,
        "the permission to start a redirect",
        "live/publish.py",
        "if plan.redirect.started and not may_redirect:",
        "if False:",
        "admin/test_reload.py::test_a_redirect_needs_its_permission",
    ),
    Removal(
        23,
        "the savepoint around the first look-up",
        "live/lookup.py",
        "savepoint=_memory.latest is None)",
        "savepoint=False)",
        "processes/test_outages.py::test_a_missing_table_leaves_the_transaction_usable",
    ),
    Removal(
        24,
        "the error before anything was loaded",
        "live/lookup.py",
        "    live = _memory.latest\n    if live is None:\n        raise ConfigurationUnavailable(",
        "    live = _memory.latest or NO_VERSION\n    if live is None:\n"
        "        raise ConfigurationUnavailable(",
        "live/test_lookup.py::test_unreachable_before_anything_was_loaded",
    ),
    Removal(
        25,
        "empty buffers before each exchange",
        "transports/smtp/session.py",
        "self._end_probe(wait=True) and self._stream.is_silent()",
        "self._end_probe(wait=True)",
        "transports/test_pool.py::test_a_reply_too_many_is_not_taken_for_that_of_the_next_message",
    ),
    Removal(
        26,
        "the removal of headers that name recipients",
        "delivery/redirect.py",
        "    return name in _REMOVED or name.startswith(_REMOVED_PREFIXES)\n",
        "    return name in _REMOVED\n",
        "delivery/test_outgoing.py::test_headers_that_name_people_are_removed",
    ),
    Removal(
        27,
        "the quota of stored messages",
        "delivery/log/stored_message.py",
        "            if self._stored_size + size > conf.MAX_STORED:\n",
        "            if False:\n",
        "outbox/test_outbox.py::test_a_full_store_accepts_nothing",
    ),
    Removal(
        28,
        "the proof that a refused chunk is consumed",
        "transports/smtp/fast_sending.py",
        "chunking=pipelining and offered.chunking and known.chunking,",
        "chunking=pipelining and offered.chunking,",
        "transports/smtp/test_fast_sending.py::"
        "test_a_message_refused_for_its_recipients_is_never_run_as_commands",
    ),
    Removal(
        29,
        "the error for what could not be kept",
        "delivery/pipeline.py",
        "if result.failure is None or entries.is_handled(entry):",
        "if result.failure is None or entry is not None:",
        "delivery/log/test_promises.py::test_too_large_but_not_kept",
    ),
    Removal(
        30,
        "timeouts that end with their transaction",
        "live/db/autonomous.py",
        'f"SET LOCAL statement_timeout',
        'f"SET SESSION statement_timeout',
        "processes/test_session_settings.py::test_nothing_is_left_in_a_session",
    ),
    Removal(
        31,
        "the difference between a process's faults and a message's",
        "outbox/outcomes.py",
        "_OF_PROCESS = (ConfigurationUnavailable, SecretError, MessageLocked,",
        "_OF_PROCESS = () and (ConfigurationUnavailable, SecretError, MessageLocked,",
        "outbox/test_process_faults.py::test_a_worker_without_the_keys",
    ),
    Removal(
        32,
        "the notice about a redirect without effect",
        "delivery/explain/notices.py",
        "        if item.redirect:\n            yield from _redirect(",
        "        if False:\n            yield from _redirect(",
        "admin/sets/test_notices.py::test_it_is_told_everywhere",
    ),
    Removal(
        33,
        "a consent that waits for the reload",
        "live/consents.py",
        "    waits = is_live and (works or not may_reload)\n",
        "    waits = False\n",
        "admin/sets/test_consent.py::test_a_consent_never_changes_what_is_live",
    ),
    Removal(
        34,
        "the check of written headers",
        "transports/mime.py",
        "        if not folded.endswith(end) or _END_OF_HEADER.search(folded.removesuffix(end)):\n",
        "        if False:\n",
        "transports/smtp/test_bytes.py::test_a_line_break_in_the_header_of_a_part_is_refused",
    ),
    Removal(
        35,
        "the process's own memory without a cache",
        "runtime/once.py",
        "    return _memory.add(key, value, seconds)\n",
        "    return False\n",
        "runtime/test_once.py::test_the_process_counts_while_the_cache_is_away[dummy]",
    ),
    Removal(
        36,
        "the pattern of variables that may be used",
        "config/references.py",
        "        if any(fnmatchcase(self.name, pattern) for pattern in conf.SECRET_VARIABLES):\n",
        "        if True:\n",
        "config/test_references.py::test_other_variables_are_refused",
    ),
    Removal(
        37,
        "one resend of each message",
        "maintenance/resend.py",
        "            if first_of(entry) in self._seen:\n",
        "            if False:\n",
        "admin/log/test_resends.py::test_several_never_means_twice",
    ),
]


def main(numbers: list[str]) -> int:
    """Print a table; 0 if each test has failed without its defence."""
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        _copy(copy)
        for removal in REMOVALS:
            if numbers and str(removal.row) not in numbers:
                continue
            failed = _assertion(copy, removal)
            kept += [removal.row] * (failed is None)
            print(f"| {removal.row} | {removal.what} | {failed or 'NOTHING FAILED'} |", flush=True)
    return 1 if kept else 0


def _copy(folder: Path) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def _assertion(copy: Path, removal: Removal) -> str | None:
    """The first error of the test without the defence; None if it passes."""
    file = copy / "wagtail_smtp" / removal.file
    text = file.read_text()
    assert text.count(removal.old) == 1, f"{removal.row}: {removal.file} has changed"
    file.write_text(text.replace(removal.old, removal.new))
    try:
        options = [
            f"--timeout={removal.timeout}",
            "-q",
            "-x",
            "-p",
            "no:randomly",
            "--nomigrations",
            "-p",
            "no:cacheprovider",
            "--tb=short",
        ]
        command = [sys.executable, "-m", "pytest", *options, f"tests/{removal.test}"]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    finally:
        file.write_text(text)
    if done.returncode == 0:
        return None
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    errors = re.findall(r"^E +(.+)", done.stdout, re.MULTILINE)
    where = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    name = where[1].rpartition("::")[2] if where else "?"
    return f"`{name}`: {(errors or ['?'])[0][:90]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
