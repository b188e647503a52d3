"""Extensions of Django's database layer: connection pool, prepared statements, counts, lookups."""
