"""Which users an operator may manage: nobody can give, or take over, a right that they lack."""

from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet

from accounts.models import User

OPERATORS = "operator"
"""Name of the group of operators. A migration creates it with its permissions."""


def out_of_reach(actor: User) -> "QuerySet[User]":
    """Users who have a right that `actor` lacks.

    Rights of inactive users count too: they return when the user is activated.
    """
    everybody: QuerySet[User] = User.objects.all()
    if actor.is_superuser:
        return everybody.none()
    lacked = _lacked_by(actor)
    beyond = Q(is_superuser=True) | Q(groups__permissions__in=lacked)
    found = everybody.filter(beyond | Q(user_permissions__in=lacked))
    return found.exclude(pk=actor.pk).distinct()


def reaches(actor: User, target: User) -> bool:
    """Whether `actor` may act for `target`, or change them."""
    return not out_of_reach(actor).filter(pk=target.pk).exists()


def groups_to_give(actor: User) -> "QuerySet[Group]":
    """Groups that contain no right that `actor` lacks."""
    every = Group.objects.order_by("name", "id")
    return every if actor.is_superuser else every.exclude(permissions__in=_lacked_by(actor))


def make_operator(user: User) -> None:
    """Give the user access to the admin, with the rights of the operators' group."""
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    group, _ = Group.objects.get_or_create(name=OPERATORS)
    user.groups.add(group)


def _lacked_by(user: User) -> "QuerySet[Permission]":
    held = Permission.objects.filter(Q(group__user=user) | Q(user=user))
    return Permission.objects.exclude(pk__in=held.values("pk"))
