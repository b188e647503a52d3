"""What happens before Slipway serves: dropping root, mounts, preparing the data directory."""
