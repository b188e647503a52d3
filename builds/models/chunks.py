"""Chunks of log lines, until the log is archived."""

from django.db import models

from builds.models.builds import Build


class LogChunk(models.Model):
    """Consecutive lines of one build, compressed. Rows are inserted, never changed."""

    build = models.ForeignKey(Build, on_delete=models.CASCADE, db_index=False)
    seq = models.PositiveIntegerField()
    fence = models.PositiveIntegerField()
    first_line = models.PositiveIntegerField()
    lines = models.PositiveIntegerField()
    raw_bytes = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["build", "seq"], name="builds_logchunk_seq_unique_per_build"
            ),
            models.UniqueConstraint(
                fields=["build", "first_line"], name="builds_logchunk_line_unique_per_build"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.build_id}/{self.seq}"
