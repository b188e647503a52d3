"""Live views: server-sent events, websockets, the feed of changes, the access re-check."""
