"""The registry that Slipway starts, the proxy in front of it, and its access tokens."""
