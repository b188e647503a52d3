"""Privileged helper: starts builder sandboxes for unprivileged workers. Standard library only."""
