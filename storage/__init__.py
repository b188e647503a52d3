"""File storage for contexts, logs and logos: a local folder, or an S3 bucket that machines share.

Both are Django storages that can also list old files of a folder and check that they respond.
"""
