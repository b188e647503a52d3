"""What the admin shows that no single package knows."""

from dashboard.audit_log import AuditAdmin
from dashboard.users import PeopleAdmin

__all__ = ["AuditAdmin", "PeopleAdmin"]
