"""Writes the id maps of a user namespace that a child process has created."""

from pathlib import Path

from helper import commands
from helper.commands import run
from helper.id_ranges import SIZE


def map_range(pid: int, first_id: int) -> None:
    """As root: map all ids of the namespace to the owner's range."""
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text(f"0 {first_id} {SIZE}\n")


def map_subordinate(pid: int, ids: tuple[int, int], subordinate: tuple[int, int]) -> None:
    """As a plain user: map root to the user, and all other ids to its subordinate ids."""
    for program, own, first in zip(("newuidmap", "newgidmap"), ids, subordinate, strict=True):
        path = str(commands.find(program))
        run([path, str(pid), "0", str(own), "1", "1", str(first), str(SIZE - 1)])
