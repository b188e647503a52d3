"""Queue state of owners, and resource classes.

Database triggers maintain `QueueOwner.running` and `QueueLine` (see `builds.queue_triggers`).
"""

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q

from builds.build_spec import DEFAULT_CLASS, RESOURCE_CLASS

MOST_WEIGHT = 100


class Priority(models.IntegerChoices):
    """Builds of a higher priority go first, however long others have waited."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


class QueueOwner(models.Model):
    """An owner's share of the queue. Created with the owner's first build."""

    owner_id = models.UUIDField(primary_key=True)
    priority = models.SmallIntegerField(choices=Priority, default=Priority.NORMAL, db_default=0)
    weight = models.PositiveSmallIntegerField(
        default=1,
        db_default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_WEIGHT)],
    )
    """An owner of weight 2 gets twice as many build slots as one of weight 1."""
    most_running = models.PositiveSmallIntegerField(null=True, blank=True)
    """Maximum number of concurrent builds; null for the default in the settings."""

    running = models.IntegerField(default=0, db_default=0)
    turn = models.FloatField(default=0, db_default=0)
    """Virtual time, in builds of weight 1. Among owners with equal load, the lowest goes next."""
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
    """Waiting builds of one owner and resource class. Deleted when none waits.

    Builds that were moved to the front and retries are not counted, as they do not wait in line.
    """

    owner = models.ForeignKey(QueueOwner, on_delete=models.CASCADE)
    resource_class = models.CharField(max_length=40)
    waiting = models.IntegerField()
    precedence = models.SmallIntegerField()
    """The owner's priority, negated: lower goes first, as with the next two columns."""
    load = models.FloatField()
    """The owner's running builds divided by weight."""
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
        """Classes for everybody, and those granted to this user."""
        return self.filter(Q(everybody=True) | Q(grants__user_id=owner_id)).distinct()


class ResourceClass(models.Model):
    """A named size of builds. The class `default` comes from the settings and has no row."""

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
    """Permission of a user to use a class that is not open to everybody."""

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
