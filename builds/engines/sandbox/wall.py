"""The wall: how a command is started where it can see and reach nothing but one build.

Three steps, one process all along, so that the parent-death signal reaches through: `outer.sh`
(root only) shows the folders below /mnt and becomes the build user, `inner.sh` enters a user and
network namespace, `room.sh` closes private networks and hands over to bubblewrap, whose private
root lies inside a second user namespace: there no mount and no route can be changed any more.
"""

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builds.engines.sandbox.etc import FILTER
from builds.engines.sandbox.networks import denied, tun_opens
from builds.engines.sandbox.settings import EngineSettings
from builds.process import CLEAN_ENV, Child, start

SHOWN = Path("/mnt")
HIDDEN_TMP_BYTES = 64 << 20
SCRIPTS = Path(__file__).parent / "scripts"
NEST: tuple[str, ...] = ("unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who builds."""

    uid: int
    gid: int
    change: bool
    """Whether Slipway is root and has to become this user first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The folders of one build, by the name that each has behind the wall (`/b/<name>`)."""

    writable: Mapping[str, Path]
    readable: Mapping[str, Path]
    etc: Path
    over: Mapping[str, str] = field(default_factory=dict)
    """Paths behind the wall that show another path behind the wall."""


class Wall:
    """Starts commands as the build user: behind the wall, or beside it for our own errands."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._scripts = {
            name: (SCRIPTS / f"{name}.sh").read_text() for name in ("outer", "inner", "room")
        }

    @property
    def account(self) -> Account:
        """Raises KeyError when there is no such user."""
        if os.geteuid() == 0:
            entry = pwd.getpwnam(self._settings.build_user or "")
            return Account(uid=entry.pw_uid, gid=entry.pw_gid, change=True)
        return Account(uid=os.geteuid(), gid=os.getegid(), change=False)

    def enter(
        self,
        room: Room,
        command: Sequence[str],
        *,
        network: bool,
        env: Mapping[str, str],
        groups: Sequence[Path] = (),
    ) -> Child:
        """Start `command` behind the wall, as root of a namespace that owns nothing else."""
        account = self.account
        folders = {**room.writable, **room.readable, "etc": room.etc}
        place = self.places(folders)
        arguments = [
            *_private_root(place["etc"]),
            *(part for n in room.writable for part in ("--bind", str(place[n]), f"/b/{n}")),
            *(part for n in room.readable for part in ("--ro-bind", str(place[n]), f"/b/{n}")),
        ]
        for path, shown in room.over.items():
            name, _, rest = shown.removeprefix("/b/").partition("/")
            arguments += ["--bind", str(place[name] / rest), path]
        arguments += ["--remount-ro", "/", "--chdir", "/b", "--clearenv"]
        for key, value in {**self._containers_env(account), **env}.items():
            arguments += ["--setenv", key, value]
        return self._start(
            [
                *("bash", "-c", self._scripts["inner"], "inner"),
                *("bash", "-c", self._scripts["room"], "room"),
                *arguments,
                *("--", *NEST, *command),
            ],
            account,
            folders,
            env={
                "NETWORK": "yes" if network else "",
                "FILTER": str(place["etc"] / FILTER),
                "DENY": " ".join(denied(self._settings.deny)) if network else "",
            },
            groups=groups,
            network=network,
        )

    def places(self, folders: Mapping[str, Path]) -> dict[str, Path]:
        """Where `beside` will show each folder."""
        account = self.account
        return {name: self._place(name, path, account) for name, path in folders.items()}

    def secret_place(self, secret: Path) -> Path:
        """Where `beside` will show a copy of that file, to nobody else."""
        return SHOWN / "auth.json" if self.account.change else secret

    def beside(
        self,
        command: Sequence[str],
        folders: Mapping[str, Path],
        *,
        env: Mapping[str, str],
        secret: Path | None = None,
    ) -> Child:
        """Start a command of our own as the build user, with the build's ids and our network."""
        account = self.account
        env = {**self._containers_env(account), **env}
        return self._start([*NEST, *command], account, folders, env=env, secret=secret)

    def _place(self, name: str, path: Path, account: Account) -> Path:
        return SHOWN / name if account.change else path

    def _containers_env(self, account: Account) -> dict[str, str]:
        # Without these the engine would make one more namespace, and then mistake itself for root.
        return {
            "PATH": "/usr/bin:/usr/sbin",
            "_CONTAINERS_USERNS_CONFIGURED": "done",
            "_CONTAINERS_ROOTLESS_UID": str(account.uid),
            "_CONTAINERS_ROOTLESS_GID": str(account.gid),
        }

    def _start(
        self,
        command: list[str],
        account: Account,
        folders: Mapping[str, Path],
        *,
        env: Mapping[str, str],
        groups: Sequence[Path] = (),
        network: bool = False,
        secret: Path | None = None,
    ) -> Child:
        env = {**CLEAN_ENV, "SLIPWAY": str(os.getpid()), **env}
        if account.change:
            command = [
                *("unshare", "--mount", "--"),
                *("bash", "-c", self._scripts["outer"], "outer"),
                *command,
            ]
            env |= {
                "BUILD_UID": str(account.uid),
                "BUILD_GID": str(account.gid),
                "GROUPS_OF_BUILD": " ".join(map(str, groups)),
                "TUN": "copy" if network and not tun_opens(account.uid) else "",
                "FSTAB": "".join(_bind(path, SHOWN / name) for name, path in folders.items()),
                "SECRET": str(secret or ""),
            }
        return start(command, env=env, cwd=Path("/"))


def _bind(source: Path, target: Path) -> str:
    escaped = "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in str(source))
    return f"{escaped} {target} none bind,X-mount.mkdir 0 0\n"


def _private_root(etc: Path) -> list[str]:
    size = str(HIDDEN_TMP_BYTES)
    arguments = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "build"]
    arguments += ["--die-with-parent"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libexec"):
        arguments += ["--ro-bind-try", f"/usr/{name}", f"/usr/{name}"]
        link = Path("/", name)
        if link.is_symlink():
            arguments += ["--symlink", str(link.readlink()), str(link)]
        else:
            arguments += ["--ro-bind-try", str(link), str(link)]
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    arguments += ["--ro-bind", str(etc), "/etc", "--ro-bind-try", certificates, certificates]
    for path in ("/tmp", "/var/tmp", "/run"):  # noqa: S108  (behind the wall)
        arguments += ["--perms", "1777", "--size", size, "--tmpfs", path]
    arguments += ["--dir", "/root", "--proc", "/proc", "--dev", "/dev", "--dir", "/sys"]
    arguments += ["--ro-bind", "/sys/devices/system/cpu", "/sys/devices/system/cpu"]
    unified = not Path("/sys/fs/cgroup/devices").is_dir()
    return [*arguments, "--ro-bind", "/srv", "/sys/fs/cgroup" + ("" if unified else "/devices")]
