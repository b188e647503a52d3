"""What the admin shows that no single package knows."""

from config.people import PeopleAdmin

__all__ = ["PeopleAdmin"]
