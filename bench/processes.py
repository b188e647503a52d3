"""Memory and processor time of a running process, from /proc."""

import os
import re
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, *, peak: bool = False) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^Vm{'HWM' if peak else 'RSS'}:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def descendants(ancestor: int) -> dict[int, str]:
    """The names of all processes below one, by pid."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                head, _, rest = (entry / "stat").read_text().rpartition(") ")
                parents[int(entry.name)] = (int(rest.split()[1]), head.partition("(")[2])
    found: dict[int, str] = {}
    waiting = [ancestor]
    while waiting:
        above = waiting.pop()
        below = {pid: name for pid, (parent, name) in parents.items() if parent == above}
        found |= below
        waiting += below
    return found


def shared_memory_mb(pid: int) -> float:
    """Including its share of memory that it shares with others."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert found
    return int(found[1]) / 1024
