"""The build queue: which build a worker takes next, and the status of waiting builds.

The reasons for its design are in docs/decisions/0040-fair-queue.md.
"""
