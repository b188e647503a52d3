"""What is added to Django's database layer: the pool, prepared statements, counts, lookups."""
