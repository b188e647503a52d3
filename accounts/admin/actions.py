"""Admin actions on API keys: revoke."""

from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from accounts import rights
from accounts.models import ApiKey, User
from operators.action_definitions import Refused, Subject, Verb, register

LATELY = timedelta(days=1)


def _revoke(key: ApiKey, by: User) -> str:
    if not rights.reaches(by, key.user):
        raise Refused(f"{key.user.username} has rights that you lack. Ask a superuser.")
    if not ApiKey.objects.filter(pk=key.pk).revoke():
        raise Refused("Nothing to do: it was revoked before.")
    return "Revoked: the next request is refused."


def _consequences(verb: Verb[ApiKey], keys: "QuerySet[ApiKey]") -> list[str]:
    lately = keys.filter(last_used_at__gte=timezone.now() - LATELY).count()
    used = f"{lately:,} of them" if lately else "None of them"
    return [
        "Whoever uses one is refused from the next request on.",
        "What is watched with one ends within seconds.",
        "A revoked key never works again.",
        f"{used} {'were' if lately > 1 else 'was'} used in the last day.",
    ]


def _rows() -> "QuerySet[ApiKey]":
    return ApiKey.objects.select_related("user")


REVOKE: Verb[ApiKey] = Verb(
    name="revoke",
    label="Revoke",
    permission="accounts.change_apikey",
    done="revoked",
    act=_revoke,
    fits=lambda key: key.revoked_at is None,
    danger=True,
)
KEYS: Subject[ApiKey] = register(
    Subject(
        model=ApiKey,
        look="accounts.view_apikey",
        made_at="created_at",
        verbs={REVOKE.name: REVOKE},
        consequences=_consequences,
        rows=_rows,
        called=lambda keys: keys.select_related("user"),
        refusals={},
        leads_to=lambda key_id: key_id,
    )
)
