"""Creates control groups and plans for the sandboxes of one data directory."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from helper.caches import Caches
from helper.control_groups import ControlGroup
from helper.id_maps import map_range, map_subordinate
from helper.loop import Loop
from helper.machine import Machine, subordinate_ids
from helper.protocol import Limits, Refused
from helper.sandbox import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandboxes:
    """What all sandboxes of one data directory share."""

    loop: Loop
    caches: Caches
    machine: Machine
    engine_root: Path
    installation: str
    """Name of the parent control group of this data directory."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def make_group(self, limits: Limits) -> ControlGroup | None:
        """Create a control group with these limits. None if the machine has none."""
        if not self.machine.hierarchies:
            return None
        name = f"{self.installation}/{next(self._numbers)}"
        group = ControlGroup(name=name, hierarchies=self.machine.hierarchies)
        try:
            group.create()
            group.set_limits(limits)
        except OSError:
            group.remove()
            raise
        return group

    def plan(
        self,
        name: str,
        first_id: int,
        *,
        command: tuple[str, ...],
        image_bytes: int | None = None,
        network: bool = False,
        deny: tuple[str, ...] = (),
        group: ControlGroup | None = None,
    ) -> Plan:
        """The plan of a sandbox with the cache `name`. Raises Refused without subordinate ids."""
        return Plan(
            helper_pid=os.getpid(),
            is_root=self.machine.is_root,
            engine_root=self.engine_root,
            state=self.caches.folder,
            state_fd=self.caches.fd,
            cache_name=name,
            image_bytes=image_bytes,
            mkfs=self.machine.mkfs,
            first_id=first_id,
            map_ids=self._map_ids(first_id),
            network=network,
            deny=deny,
            groups=tuple(group.folders) if group is not None else (),
            command=command,
        )

    def _map_ids(self, first_id: int) -> Callable[[int], None]:
        if self.machine.is_root:
            return lambda pid: map_range(pid, first_id)
        subordinate = subordinate_ids()
        if subordinate is None:
            raise Refused("sandbox", "This user has no 65,535 subordinate ids.")
        return lambda pid: map_subordinate(pid, (os.geteuid(), os.getegid()), subordinate)
