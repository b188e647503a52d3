"""The registry that Slipway starts, and the guard that stands before it."""
