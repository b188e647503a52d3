"""Django's backend of PostgreSQL, with a pool that asks idle connections alone how they are."""
