"""Django's admin site with the system page, the audit log and the list of users."""
