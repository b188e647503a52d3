"""What operators do to rows of any kind: confirmed, one by one, each whole and written down."""
