"""The hostile server at its best, seen by smtplib and by plain sockets."""

import smtplib
import socket
import subprocess
import sys

import pytest

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_client import (
    MAIL,
    RCPT,
    after_ehlo,
    logged_in,
    read,
    read_all,
    tls,
)


@pytest.mark.parametrize("encryption", ["starttls", "ssl", "none"])
def test_takes_messages_unstuffed(encryption):
    content = b"Subject: Hi\r\n\r\n.\r\n..two\r\nend.\r\n"
    with HostileServer(encryption) as server, logged_in(server) as client:
        for number in (1, 2):
            assert client.sendmail("a@example.com", [f"{number}@example.com"], content) == {}
    assert [item.content for item in server.received] == [content] * 2
    assert [item.recipients for item in server.received] == [["1@example.com"], ["2@example.com"]]
    assert server.received[0].sender == "a@example.com"
    assert server.logins == [(server.username, server.password)]
    assert server.connections == 1
    assert server.violations == server.struck == []


def test_takes_an_empty_message():
    with HostileServer("none", auth=False) as server, after_ehlo(server) as sock:
        sock.sendall(MAIL + RCPT + b"DATA\r\n")
        read(sock, b"354 Go ahead\r\n")
        sock.sendall(b".\r\n")
        read(sock, b"250 2.0.0 Taken\r\n")
        assert server.received[0].content == b""


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("password", ["right", "wrong"])
def test_logs_in(mechanism, password):
    with (
        HostileServer("none", password="right", mechanisms=[mechanism]) as server,
        logged_in(server, log_in=False) as client,
    ):
        if password == "right":
            client.login(server.username, password)
            client.sendmail("a@example.com", "b@example.com", b"Hi")
        else:
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login(server.username, password)
            with pytest.raises(smtplib.SMTPSenderRefused):
                client.sendmail("a@example.com", "b@example.com", b"Hi")
    assert len(server.received) == (password == "right")
    assert [line for line in server.transcript if "AUTH" in line] == [f"AUTH {mechanism}"]


def test_logs_in_with_any_characters():
    with HostileServer("none", username="jürgen", password="пароль") as server:
        with logged_in(server, log_in=False) as client:
            client.ehlo()
            given = "\0jürgen\0пароль".encode()
            assert client.docmd("AUTH PLAIN", smtplib.encode_base64(given, eol=""))[0] == 235
        assert server.logins == [("jürgen", "пароль")]


def test_does_nothing_before_tls_and_login():
    with HostileServer() as server, smtplib.SMTP(server.host, server.port, timeout=5) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.mail("a@example.com")[0] == 530
        assert client.docmd("AUTH PLAIN")[0] == 503
        client.starttls(context=tls())
        client.ehlo()
        assert not client.has_extn("starttls")
        assert client.mail("a@example.com")[0] == 530


def test_takes_a_message_in_one_write():
    content = b"Subject: Hi\r\n\r\n.\r\n"
    with HostileServer("none", auth=False) as server, after_ehlo(server) as sock:
        group = MAIL + RCPT + b"BDAT %d LAST\r\n" % len(content) + content
        for number in (1, 2):
            sock.sendall(group)
            assert read(sock, b"Taken\r\n").count(b"250 ") == 3, number
        sock.sendall(group * 2)
        assert read(sock, b"Taken\r\n").count(b"250 ") == 6
    assert [item.content for item in server.received] == [content] * 4
    assert server.writes == [1] * 4
    assert server.transcript[1:4] == [
        "MAIL FROM:<a@example.com>",
        "RCPT TO:<b@example.com>",
        "BDAT 18 LAST",
    ]


def test_takes_a_message_in_chunks():
    with HostileServer("none", auth=False) as server, after_ehlo(server) as sock:
        sock.sendall(MAIL + RCPT + b"BDAT 5\r\nHello")
        read(sock, b"250 2.0.0 5 octets\r\n")
        sock.sendall(b"BDAT 6\r\n World")
        read(sock, b"250 2.0.0 6 octets\r\n")
        sock.sendall(b"BDAT 0 LAST\r\n")
        read(sock, b"Taken\r\n")
    assert server.received[0].content == b"Hello World"
    assert server.writes == [3]


def test_counts_writes():
    with HostileServer() as server, logged_in(server) as client:
        client.sendmail("a@example.com", "b@example.com", b"Hi")
    assert server.writes == [4]


@pytest.mark.parametrize(
    ("extensions", "sent"),
    [
        (["PIPELINING", "8BITMIME"], MAIL + RCPT + b"DATA\r\nSubject: Hi\r\n"),
        (["PIPELINING", "8BITMIME"], b"EHLO again\r\n" + MAIL),
        (["8BITMIME"], MAIL + RCPT),
    ],
    ids=["ahead of 354", "behind EHLO", "no PIPELINING"],
)
def test_refuses_what_is_sent_too_early(extensions, sent):
    with HostileServer("none", extensions, auth=False) as server, after_ehlo(server) as sock:
        sock.sendall(sent)
        assert read_all(sock).endswith(b"554 5.5.0 Out of turn\r\n")
        assert len(server.violations) == 1


def test_refuses_commands_ahead_of_the_handshake():
    with HostileServer() as server, socket.create_connection((server.host, server.port), 5) as sock:
        sock.sendall(b"STARTTLS\r\n" + MAIL)
        assert read_all(sock).endswith(b"554 5.5.0 Out of turn\r\n")
        assert server.violations == ["more was sent with STARTTLS than may be"]


def test_knows_no_bdat_unless_it_offers_it():
    extensions = ["PIPELINING", "8BITMIME"]
    with HostileServer("none", extensions, auth=False) as server, after_ehlo(server) as sock:
        sock.sendall(MAIL + RCPT + b"BDAT 2 LAST\r\nHi\r\n")
        assert read(sock, b"What?\r\n500 5.5.2 What?\r\n").count(b"250") == 2


def test_serves_from_a_process_of_its_own():
    command = [sys.executable, "-m", "tests.support.servers.hostile", "--encryption", "none"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with smtplib.SMTP("127.0.0.1", int(process.stdout.readline()), timeout=5) as client:
            client.login("user@example.com", "secret of the tests")
        process.stdin.close()
        assert process.wait(5) == 0
