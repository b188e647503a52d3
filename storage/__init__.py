"""Where contexts, logs and logos are kept: a folder, or a bucket of S3 that many machines share.

Either is a storage of Django's that also tells what is `old` in a folder, and whether it answers.
"""
