"""Checks a machine from the kernel to the registry, and says what is wrong and what to do.

The engine reports what it lacks, and a trial build shows whether anything else is missing.
`observability.health` checks the other dependencies.
"""

import os
import platform
import pwd
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connection

from builds import actors  # noqa: F401  (declares the queue)
from builds.conf import BuildSettings, build_settings
from builds.engine_factory import engine
from builds.engine_root import NoEngineRoot
from builds.engines.sandbox.helper import Helper, HelperError
from builds.engines.sandbox.networks import TUN
from builds.host_stats import programs
from builds.trial_build import TrialFailed, try_build
from observability import engine_updates, health
from startup import bootstrap, data_directory

GIB = 1024**3
OLD_DAYS = 30
MOST_NAMES = 8
SYSCTL = Path("/proc/sys")
NAMESPACE_SETTINGS = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "65536"),
)
"""The setting, the value that forbids user namespaces, and one that allows them."""
HINTS = {
    "database": "look at DATABASE_URL, and whether PostgreSQL runs and lets this machine in",
    "queue": "look at REDIS_URL, and whether Redis runs and lets this machine in",
    "storage": "make SLIPWAY_DATA_DIR writable for whoever runs Slipway, and free some disk; with "
    "SLIPWAY_STORAGE look at the bucket, its endpoint, and the credentials in AWS_…",
    "registry": "look at SLIPWAY_REGISTRY, its credentials, and whether it runs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report: a part, what was found, and what to do. No hint: nothing is wrong."""

    part: str
    saw: str
    hint: str = ""
    fatal: bool = False
    """Whether no build can succeed."""

    @property
    def well(self) -> bool:
        return not self.hint


def look() -> Iterator[Finding]:
    """Yield all findings, from the settings and the kernel to the registry, as they are found."""
    config = build_settings()
    yield from _settings()
    yield from _kernel()
    yield from _engine_root(config)
    found = ", ".join(f"{name} {version}" for name, version in programs(config).items())
    yield Finding(part="programs", saw=found)
    yield from _user(config)
    yield from _disk(config)
    yield from _engine(config)
    yield from _migrations()
    yield from _servers(config)


def _settings() -> Iterator[Finding]:
    wrong = [each for each in checks.run_checks() if each.level >= checks.ERROR]
    for each in wrong:
        yield Finding(part="settings", saw=each.msg, hint=each.hint or "", fatal=True)
    if not wrong:
        yield Finding(part="settings", saw=f"usable; data in {settings.DATA_DIR}")


def _kernel() -> Iterator[Finding]:
    saw = [f"{platform.system()} {platform.release()}"]
    with suppress(OSError):
        most = Path("/proc/sys/user/max_user_namespaces").read_text().strip()
        saw.append(f"at most {most} user namespaces")
    with suppress(OSError):
        known = Path("/proc/filesystems").read_text().split()
        saw.append("overlay" if "overlay" in known else "no overlay yet (a module may bring it)")
    saw.append(f"{TUN} is there" if Path(TUN).exists() else f"no {TUN}")
    groups: list[str] = []
    with suppress(HelperError):
        groups = sorted(Helper(build_settings().data_dir / "run/helper.sock").info().limits)
    saw.append(f"control groups for {', '.join(groups)}" if groups else "no control groups to use")
    saw.append("loop devices" if Path("/dev/loop-control").exists() else "no loop devices")
    yield Finding(part="kernel", saw="; ".join(saw))
    yield from _user_namespaces()


def _user_namespaces() -> Iterator[Finding]:
    """Settings that forbid user namespaces, which every sandbox needs."""
    for name, forbidding, allowing in NAMESPACE_SETTINGS:
        with suppress(OSError):
            if (SYSCTL / name).read_text().strip() == forbidding:
                dotted = name.replace("/", ".")
                hint = f"sysctl -w {dotted}={allowing}, and the same in a file of /etc/sysctl.d"
                saw = f"{dotted} is {forbidding}: no user namespaces for unprivileged users"
                yield Finding(part="kernel", saw=saw, hint=hint)


def _engine_root(config: BuildSettings) -> Iterator[Finding]:
    root = config.engine_root
    try:
        made_at, packages = root.made_at(), root.packages()
    except NoEngineRoot as problem:
        yield Finding(part="packages", saw=str(problem), hint="`make engine`", fatal=True)
        return
    days = (datetime.now(UTC) - made_at).days
    saw = f"engine root of {made_at:%Y-%m-%d}, {len(packages)} packages of Debian 13"
    try:
        newer = engine_updates.find(config)
    except engine_updates.NotKnown as problem:
        # Without that only the age is known.
        old = days >= OLD_DAYS
        hint = f"it is {days} days old: `make engine` renews it" if old else ""
        yield Finding(part="packages", saw=f"{saw}; newer versions: {problem}", hint=hint)
        return
    if not newer:
        yield Finding(part="packages", saw=f"{saw}, none of them with a newer version")
        return
    names = ", ".join(newer[:MOST_NAMES]) + (", …" if len(newer) > MOST_NAMES else "")
    hint = f"`make engine` renews it: Debian has newer versions of {names}"
    yield Finding(part="packages", saw=f"{saw}, {len(newer)} of them out of date", hint=hint)


def _user(config: BuildSettings) -> Iterator[Finding]:
    me = pwd.getpwuid(os.geteuid()).pw_name
    yield Finding(part="user", saw=f"Slipway runs as {me}")


def _disk(config: BuildSettings) -> Iterator[Finding]:
    there = os.statvfs(config.data_dir)
    free = there.f_bavail * there.f_frsize
    saw = f"{free / GIB:.1f} GiB free of {there.f_blocks * there.f_frsize / GIB:.1f}"
    low = free < config.free_disk_bytes
    hint = f"free some: below {config.free_disk_bytes / GIB:.1f} GiB builds lose their caches"
    yield Finding(part="disk", saw=saw, hint=hint if low else "")


def _engine(config: BuildSettings) -> Iterator[Finding]:
    problems = engine().problems()
    for each in problems:
        yield Finding(part="engine", saw=each.text, hint=each.hint, fatal=each.fatal)
    if any(each.fatal for each in problems):
        return
    try:
        seconds = try_build(engine(), config)
    except TrialFailed as problem:
        saw = f"{config.engine} did not build a tiny image: {problem}"
        hint = "what is noted above may be the cause; the log of `make up` may say more"
        yield Finding(part="engine", saw=saw, hint=hint, fatal=True)
    else:
        yield Finding(part="engine", saw=f"{config.engine} built a tiny image in {seconds:.1f} s")


def _migrations() -> Iterator[Finding]:
    try:
        due = bootstrap.migrations_due()
    except DatabaseError:
        return  # the check of the database says why
    if due:
        saw = f"{due} migrations are due"
        hint = "`make up` makes them, elsewhere `manage.py migrate`"
        yield Finding(part="database", saw=saw, hint=hint, fatal=bool(settings.BUILDS.redis_url))


def _servers(config: BuildSettings) -> Iterator[Finding]:
    for part in health.CHECKS:
        if part == "engine":
            continue  # reported by `_engine`, with hints
        if part == "registry" and config.registry_guarded and not _is_up():
            yield _registry_to_come(config)
            continue
        answer = health.answer_of(part)
        if answer == "ok":
            yield Finding(part=part, saw=_where(part, config))
        else:
            yield Finding(part=part, saw=answer, hint=HINTS[part], fatal=True)


def _registry_to_come(config: BuildSettings) -> Finding:
    return Finding(part="registry", saw=f"starts with Slipway, at {config.registry}")


def _where(part: str, config: BuildSettings) -> str:
    """Describe where a part is, without passwords."""
    database = connection.settings_dict
    place = f"{database['HOST']}:{database['PORT']}/" if database["HOST"] else ""
    return {
        "database": f"{connection.display_name} answers at {place}{database['NAME']}",
        "queue": "Redis answers" if config.redis_url else "in the process",
        "storage": _place(),
        "registry": f"{config.registry} answers",
    }.get(part, "answers")


def _place() -> str:
    options = settings.STORAGES["default"]["OPTIONS"]
    bucket = options.get("bucket_name")
    return f"the bucket {bucket} answers" if bucket else f"{options['location']} can be written"


def _is_up() -> bool:
    try:
        data_directory.lock(settings.DATA_DIR).close()
    except data_directory.InUse:
        return True
    return False
