"""What this machine lacks for builds, told at start and not at the first build."""

import os
import pwd
import shutil
from pathlib import Path
from typing import Protocol

from builds.engines.base import Problem
from builds.engines.sandbox.limits import hierarchies, unheld
from builds.engines.sandbox.networks import TUN, can_have_network
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.sandbox.wall import Wall
from builds.process import CLEAN_ENV

PROGRAMS = {
    "buildah": "buildah",
    "runc": "runc",
    "bwrap": "bubblewrap",
    "newuidmap": "uidmap",
    "slirp4netns": "slirp4netns",
    "ip": "iproute2",
}
IDS = 65_536
SETUP = "deploy/machine.sh sets the machine up, or says what to ask root for"


class Trial(Protocol):
    """Runs nothing behind the wall: what went wrong, or nothing."""

    def __call__(self, *, network: bool) -> str: ...


def find_problems(settings: EngineSettings, wall: Wall, trial: Trial) -> list[Problem]:
    """Everything that is missing; later checks only where earlier ones found nothing fatal."""
    found = _programs()
    user = settings.build_user if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    try:
        account = wall.account
    except KeyError:
        text = f"there is no user {user} to build as" if user else "no user to build as is named"
        return [*found, Problem(code="build-user-missing", text=text, hint=SETUP, fatal=True)]
    found += [
        Problem(
            code="ids-missing",
            text=f"{file} gives {user} fewer than {IDS} ids",
            hint=SETUP,
            fatal=True,
        )
        for file in ("/etc/subuid", "/etc/subgid")
        if _given(Path(file), str(user), account.uid) < IDS
    ]
    if any(problem.fatal for problem in found):
        return found
    if said := trial(network=False):
        text = f"{user} cannot build behind the wall: {said}"
        hint = "allow unprivileged user namespaces (sysctl, AppArmor, container options)"
        return [*found, Problem(code="wall-refused", text=text, hint=hint, fatal=True)]
    if can_have_network(account.uid):
        if said := trial(network=True):
            text = f"builds run without network: {said}"
            hint = f"slirp4netns must be able to use {TUN} in a namespace of {user}"
            found.append(Problem(code="network-refused", text=text, hint=hint, fatal=False))
    else:
        found.append(
            Problem(
                code="network-missing",
                text=f"{TUN} or slirp4netns cannot be used: builds run without network",
                hint=f"let {user} read and write {TUN}, or run Slipway as root",
                fatal=False,
            )
        )
    if missing := unheld(hierarchies() if account.change else ()):
        found.append(
            Problem(
                code="limits-missing",
                text=f"no control groups: limits on {', '.join(missing)} are not held",
                hint="run Slipway as root where control groups are mounted writable",
                fatal=False,
            )
        )
    return found


def _programs() -> list[Problem]:
    return [
        Problem(
            code=f"{program}-missing",
            text=f"{program} is not installed",
            hint=f"apt-get install {package}; {SETUP}",
            fatal=program != "slirp4netns",
        )
        for program, package in PROGRAMS.items()
        if shutil.which(program, path=CLEAN_ENV["PATH"]) is None
    ]


def _given(file: Path, user: str, uid: int) -> int:
    try:
        rows = [line.split(":") for line in file.read_text().splitlines()]
        return sum(int(row[2]) for row in rows if row[0] in {user, str(uid)})
    except (OSError, ValueError, IndexError):
        return 0
