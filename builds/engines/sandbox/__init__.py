"""What every engine shares: settings, sandboxed programs, the helper's client, OCI layouts."""
