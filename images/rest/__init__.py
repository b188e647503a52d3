"""The REST API of images. Each method reads one queryset or makes one call into the catalog."""
