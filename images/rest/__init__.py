"""The Images API over HTTP. Each method reads one queryset or makes one call into the catalog."""
