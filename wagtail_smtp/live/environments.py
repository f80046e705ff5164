"""Whether a version or a queued message comes from the environment in which this process runs.

A copied database contains the live version and the outbox of the site it was copied from. Each of
them records its environment, so that a copy sends nothing.
"""

from django.utils.translation import gettext as _

from wagtail_smtp.conf import conf
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import OutboxMessage

#: The environment of everything that was recorded without a name. An existing site can therefore
#: name itself so without effect, while its copies with another name are held.
PRODUCTION = "production"


def own_names() -> tuple[str, ...]:
    """The recorded names of this process's environment; an empty one stands for no name.

    A process without a name only uses what was recorded without one: its database may be a copy.

    Raises:
        ImproperlyConfigured: the name of this environment is not valid.
    """
    here = conf.environment()
    return (here, "") if here == PRODUCTION else (here,)


def origin(recorded: str) -> str:
    """Return the environment that ``recorded`` names, if it isn't this process's; else ``""``.

    Raises:
        ImproperlyConfigured: the name of this environment is not valid.
    """
    return "" if recorded in own_names() else recorded or PRODUCTION


def is_holding(held_from: str) -> bool:
    """Whether email is held, apart from exempt categories. A forced redirect makes it safe to send.

    Args:
        held_from: the environment that the live version comes from, if it is another one.
    """
    return bool(held_from) and conf.forced_redirect() is None


def holds(held_from: str, category: str) -> bool:
    """Whether email of ``category`` is held."""
    return is_holding(held_from) and category not in conf.STANDARD_CATEGORIES_IN_COPY


def holds_all(held_from: str) -> bool:
    """Whether all email is held."""
    return is_holding(held_from) and not conf.STANDARD_CATEGORIES_IN_COPY


def origin_text(held_from: str) -> str:
    """Say where the live version comes from."""
    return _("These email settings come from “%s”.") % held_from


def held_text(held_from: str) -> str:
    """Say that no email is sent, why, and what to do."""
    here = conf.environment()
    exempt = ", ".join(sorted(conf.STANDARD_CATEGORIES_IN_COPY))
    if exempt:
        text = _(
            "Until someone reloads the application here, standard delivery sends email of these "
            "categories, and no other email is sent: %s."
        )
        text %= exempt
    elif here:
        text = _("No email is sent from “%s” until someone reloads the application here.") % here
    else:
        text = _(
            "The environment of this process has no name. No email is sent until a developer sets "
            "WAGTAIL_SMTP_ENVIRONMENT, or someone reloads the application here."
        )
    return f"{origin_text(held_from)} {text}"


def hold_messages() -> None:
    """Hold the waiting messages of other environments, which came with a copied database.

    Call it in the transaction of a reload. Workers never claim such messages anyway; the state
    keeps them out of the index that workers read. A process without a name leaves them alone: it
    may be a console of the site that queued them.
    """
    if not conf.environment():
        return
    waiting = OutboxMessage.objects.using(write_alias()).filter(state=OutboxMessage.State.WAITING)
    foreign = waiting.exclude(environment__in=own_names())
    # Usually there are none. On MySQL an UPDATE would lock the messages that it examines.
    if foreign.exists():
        foreign.update(state=OutboxMessage.State.HELD)
