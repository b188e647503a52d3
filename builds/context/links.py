"""Symbolic links of a context: kept when every hop of them stays inside, refused otherwise.

A link that points outside is how `RUN --mount=type=bind,source=link` reached the host's files, so
such links are refused although the wall holds without that. Links inside are part of ordinary
source trees (`libx.so -> libx.so.1`) and cannot lead anywhere a plain path could not: the context
is read-only while the build runs, so what is true of it here stays true.
"""

from collections.abc import Mapping

from builds.context.archive import ContextRefused, shown
from builds.context.members import Parts

MOST_HOPS = 16


def check_links(links: Mapping[Parts, str], *, link: Parts) -> None:
    """Walks as the kernel would, through the other links too; a textual check is not enough.

    With `b -> ..`, the harmless-looking `a -> sub/b/../x` leads out.
    """
    waiting = list(reversed(link))
    at: list[str] = []
    hops = 0
    while waiting:
        part = waiting.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            if not at:
                raise _refused(link, "leads out of the build context")
            at.pop()
            continue
        target = links.get((*at, part))
        if target is None:
            at.append(part)
            continue
        hops += 1
        if hops > MOST_HOPS:
            raise _refused(link, f"goes through more than {MOST_HOPS} links")
        if target.startswith("/"):
            raise _refused(link, "points to an absolute path")
        waiting.extend(reversed(target.split("/")))


def read_target(link: Parts, content: bytes) -> str:
    """The text of a link, as far as it can be one."""
    try:
        target = content.decode()
    except UnicodeDecodeError:
        target = ""
    if not target or "\0" in target:
        raise _refused(link, "has no readable target")
    return target


def _refused(link: Parts, complaint: str) -> ContextRefused:
    return ContextRefused(
        f"the link {shown('/'.join(link))} {complaint}: "
        "put the file itself there (zip without --symlinks does)"
    )
