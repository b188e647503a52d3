"""The queue: which build a worker takes next, and what people are told of those that wait.

docs/decisions/0040-fair-queue.md says why it works like this.
"""
