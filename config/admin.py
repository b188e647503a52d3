"""What the admin shows that no single package knows."""

from config.audit import AuditAdmin
from config.people import PeopleAdmin

__all__ = ["AuditAdmin", "PeopleAdmin"]
