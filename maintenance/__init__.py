"""Maintenance by operators: backup, restore, reconcile, prune."""
