"""What every engine shares: settings, the helper's client, networks, OCI layouts."""
