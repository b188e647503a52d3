"""Registers the admin pages that combine several packages."""

from dashboard.audit_log import AuditAdmin
from dashboard.users import PeopleAdmin

__all__ = ["AuditAdmin", "PeopleAdmin"]
