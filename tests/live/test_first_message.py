"""The thinnest real way: a stored set, a reload, a message through a real socket."""

from django.core.mail import send_mail


def test_a_message_leaves_through_the_live_set(smtp_server, make_set, reload):
    make_set(smtp_server, sender_name="The Site", sender_address="hello@example.com")
    reload()

    assert send_mail("Hello", "Body", None, ["someone@example.org"]) == 1

    [received] = smtp_server.received
    assert received.sender == "hello@example.com"
    assert received.recipients == ["someone@example.org"]
    assert received.message["From"] == "The Site <hello@example.com>"
    assert smtp_server.logins == [("user@example.com", smtp_server.password)]
