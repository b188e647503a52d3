import pytest

from accounts import scopes

ONE, OTHER = (f"{digit * 8}-aaaa-4bbb-8ccc-{digit * 12}" for digit in "12")


@pytest.mark.parametrize("scope", ["all", "images:read", "images:write", f"images:delete:{ONE}"])
def test_a_scope_is_taken(scope: str) -> None:
    scopes.check(scope)


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "ALL",
        "all ",
        "images",
        "image:read",
        "images:push",
        "images:read:",
        "images:read:x",
        "images:read\n",
        f"images:read:{ONE.upper()}",
        None,
        3,
        ["all"],
    ],
)
def test_what_is_no_scope_is_refused(scope: object) -> None:
    with pytest.raises(scopes.BadScope, match="images:write"):
        scopes.check(scope)


def test_a_scope_grants_its_own_action_on_its_own_kind() -> None:
    assert scopes.allows(["images:read"], "images", "read")
    assert scopes.allows(["images:read"], "images", "read", ONE)
    assert not scopes.allows(["images:read"], "images", "write")
    assert not scopes.allows(["images:read"], "logos", "read")
    assert not scopes.allows([], "images", "read")
    assert not scopes.allows(["images:read"], None, "read")
    assert scopes.allows(["all"], None, "delete")


def test_a_bound_scope_grants_one_thing() -> None:
    bound = [f"images:read:{ONE}"]
    assert scopes.allows(bound, "images", "read", ONE)
    assert not scopes.allows(bound, "images", "read", OTHER)
    assert not scopes.allows(bound, "images", "read")
    assert not scopes.allows(bound, "images", "write", ONE)
    assert scopes.allows_some(bound, "images", "read")
    assert not scopes.allows_some(bound, "images", "write")


def test_methods_stand_for_actions() -> None:
    words = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    actions = [scopes.action_of(word) for word in words]
    assert actions == ["read", "read", "write", "write", "write", "delete"]
