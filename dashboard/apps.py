from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class DashboardConfig(AppConfig):
    name = "dashboard"


class OperatorsAdmin(AdminConfig):
    """Django's admin with the system page."""

    default_site = "dashboard.site.OperatorsSite"
