"""Owners in the queue: whose turn it is, what each may run, and the sizes that builds can have.

The database itself keeps `QueueOwner.running` and the lines (`builds.queue_triggers`).
"""

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q

from builds.build_spec import DEFAULT_CLASS, RESOURCE_CLASS

MOST_WEIGHT = 100


class Priority(models.IntegerChoices):
    """What is higher goes first, whatever others wait for."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


class QueueOwner(models.Model):
    """An owner's part in the queue. There from the first build on."""

    owner_id = models.UUIDField(primary_key=True)
    priority = models.SmallIntegerField(choices=Priority, default=Priority.NORMAL, db_default=0)
    weight = models.PositiveSmallIntegerField(
        default=1,
        db_default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_WEIGHT)],
    )
    """An owner of weight 2 gets twice as many build slots as one of weight 1."""
    most_running = models.PositiveSmallIntegerField(null=True, blank=True)
    """Builds at once; null for the instance's default."""

    running = models.IntegerField(default=0, db_default=0)
    turn = models.FloatField(default=0, db_default=0)
    """Virtual time, in builds of weight 1. Among owners who run as much, the lowest goes next."""
    started_turn = models.FloatField(default=0, db_default=0)
    """The virtual time at which this owner's last build was taken."""

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(weight__gt=0), name="builds_queueowner_weight"),
        ]
        indexes = [models.Index(F("started_turn").desc(), name="builds_queueowner_started")]

    def __str__(self) -> str:
        return str(self.owner_id)


class QueueLine(models.Model):
    """Builds of one owner and one resource class that wait for their turn; gone when none does.

    Without those that were moved to the front or are tried again: they had their turn.
    """

    owner = models.ForeignKey(QueueOwner, on_delete=models.CASCADE)
    resource_class = models.CharField(max_length=40)
    waiting = models.IntegerField()
    precedence = models.SmallIntegerField()
    """The owner's priority with its sign changed: lower goes first, as with the other two."""
    load = models.FloatField()
    """The owner's running builds by weight."""
    turn = models.FloatField()

    class Meta:
        default_permissions = ()
        ordering = ("precedence", "load", "turn", "id")
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "resource_class"], name="builds_queueline_one_per_class"
            ),
        ]
        indexes = [
            models.Index(fields=["precedence", "load", "turn", "id"], name="builds_queueline_next"),
            models.Index(
                fields=["resource_class", "precedence", "load", "turn", "id"],
                name="builds_queueline_class",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.waiting} {self.resource_class} of {self.owner_id}"


class ResourceClassQuerySet(models.QuerySet["ResourceClass"]):
    def allowed_to(self, owner_id: object) -> "ResourceClassQuerySet":
        return self.filter(Q(everybody=True) | Q(grants__user_id=owner_id)).distinct()


class ResourceClass(models.Model):
    """A named size of builds. The settings describe the class `default`, which has no row."""

    name = models.CharField(
        max_length=40,
        primary_key=True,
        validators=[
            RegexValidator(RESOURCE_CLASS, "Use lower-case letters, digits and single hyphens.")
        ],
        help_text="Lower-case letters, digits and hyphens. It cannot be changed later.",
    )
    cpus = models.FloatField(
        validators=[MinValueValidator(0.01), MaxValueValidator(1024)], help_text="Processors."
    )
    memory_mb = models.PositiveIntegerField(
        "memory", validators=[MinValueValidator(64)], help_text="In MiB."
    )
    disk_mb = models.PositiveIntegerField(
        "disk",
        validators=[MinValueValidator(64)],
        help_text="In MiB: of the image, and of the owner's cache where it is made new.",
    )
    deadline = models.PositiveIntegerField(
        validators=[MinValueValidator(1)], help_text="Seconds that a build may take."
    )
    is_default = models.BooleanField(
        "default",
        default=False,
        help_text="Builds that name no class get this one, where their owner may use it.",
    )
    everybody = models.BooleanField(
        "for everybody", default=True, help_text="Otherwise only for the users named below."
    )

    objects = ResourceClassQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "resource classes"
        default_permissions = ("view", "add", "change", "delete")
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="builds_resourceclass_one_default",
                violation_error_message="Another class is the default already.",
            ),
            models.CheckConstraint(
                condition=~Q(name=DEFAULT_CLASS),
                name="builds_resourceclass_not_default",
                violation_error_message="The settings describe the class “default”.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ResourceClassGrant(models.Model):
    """That a user may use a class that is not for everybody."""

    resource_class = models.ForeignKey(
        ResourceClass, on_delete=models.CASCADE, related_name="grants"
    )
    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="+")

    class Meta:
        verbose_name = "user"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["resource_class", "user"], name="builds_resourceclassgrant_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.resource_class_id} for {self.user_id}"
