"""Steps before Slipway serves: dropping root, mounts, preparing the data directory."""
