"""Django's PostgreSQL backend with a connection pool that checks only idle connections."""
