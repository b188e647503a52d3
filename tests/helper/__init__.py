"""The privileged helper, with real sandboxes, control groups, mounts and builds."""
