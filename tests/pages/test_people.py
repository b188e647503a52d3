"""People and keys in the admin, in the browser of an operator who is no superuser."""

import pytest
from playwright.sync_api import Page, expect

from tests.instance import Instance
from tests.pages.conftest import PASSWORD, Open
from tests.pages.test_axe import findings


def status(instance: Instance, key: str) -> int:
    with instance.client(key) as client:
        return client.get("/users/me").status_code


def issued(page: Page, instance: Instance, who: str, label: str = "laptop") -> str:
    """Fills in the form as a person does; the key that the page shows then."""
    page.goto(f"{instance.url}/admin/accounts/apikey/add/")
    page.click(".field-user .select2-selection")
    page.fill(".select2-search__field", who[:3])
    page.click(f".select2-results__option:text-is('{who}')")
    page.fill("[name=label]", label)
    page.check("[name=grants][value=all]")
    page.click("[name=_save]")
    return page.locator("#key").inner_text()


def test_a_key_is_issued_seen_once_and_revoked(instance: Instance, opened: Open) -> None:
    with opened("keeper") as page:
        key = issued(page, instance, "alice")
        page.get_by_role("button", name="Copy").click()
        expect(page.locator("[data-copy-of]")).to_have_text("Copied")
        assert status(instance, key) == 200
        page.click("text=To the key")
        assert key[-32:] not in page.content()
        page.goto(f"{instance.url}/admin/accounts/apikey/")
        assert key[-32:] not in page.content()
        row = page.locator("#result_list tr", has_text="laptop")
        row.locator("input").check()
        page.select_option("[name=action]", "revoke")
        page.click("[name=index]")
        expect(page.locator("#content")).to_contain_text("alice: laptop")
        assert status(instance, key) == 200
        page.click("[value='Yes, revoke']")
        expect(page.locator(".messagelist")).to_contain_text("1 API key revoked")
        assert status(instance, key) == 401
        expect(row).to_contain_text("revoked")


def test_who_lacks_the_right_sees_none_of_it(instance: Instance, opened: Open) -> None:
    with opened("alice") as page:
        page.goto(f"{instance.url}/")
        expect(page.get_by_role("navigation", name="Slipway")).not_to_contain_text("Admin")
        for path in ("", "accounts/apikey/", "accounts/apikey/add/", "accounts/user/"):
            page.goto(f"{instance.url}/admin/{path}")
            expect(page.locator("#login-form")).to_be_visible()
            expect(page.locator("#content")).not_to_contain_text("keeper")


def test_a_password_is_changed_and_the_session_ended(instance: Instance, opened: Open) -> None:
    instance.manage(
        *("shell", "-v", "0", "-c"),
        "from accounts.models import User; from accounts.rights import make_operator; "
        f"make_operator(User.objects.create_user('changing', '{PASSWORD}'))",
    )
    with opened("") as page:
        page.goto(f"{instance.url}/admin/")
        for password in (PASSWORD, "another-than-before"):
            page.fill("[name=username]", "changing")
            page.fill("[name=password]", password)
            page.click("#login-form [type=submit]")
            page.click("text=Change password")
            page.fill("[name=old_password]", password)
            for name in ("new_password1", "new_password2"):
                page.fill(f"[name={name}]", "another-than-before")
            page.click("#content-main [type=submit]")
            expect(page.locator("#content")).to_contain_text("Your password was changed")
            page.click("#logout-form button")
            expect(page.get_by_role("navigation", name="Slipway")).to_contain_text("Sign in")
            page.goto(f"{instance.url}/admin/")


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(instance: Instance, opened: Open, scheme: str) -> None:
    # What axe does to a page is against the policy, and not what is tried here.
    with opened("keeper", color_scheme=scheme, bypass_csp=True) as page:
        issued(page, instance, "alice", f"axe-{scheme}")
        seen = [findings(page)]
        for step in ("text=To the key", "text=Revoke"):
            page.click(step)
            seen.append(findings(page))
        for path in ("", "password_change/", "accounts/apikey/", "accounts/apikey/add/"):
            page.goto(f"{instance.url}/admin/{path}")
            seen.append(findings(page))
        for who in ("alice", "admin"):
            page.goto(f"{instance.url}/admin/accounts/user/")
            seen.append(findings(page))
            page.click(f"#result_list th a:text-is('{who}')")
            seen.append(findings(page))
        assert seen == [[]] * len(seen)
