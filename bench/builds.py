"""From POST to `built and pushed`, beside bare rootless buildah doing the same."""

import io
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL
from zipfile import ZipFile

from bench.figures import Figure
from tests.instance import Instance, send, watch
from tests.registry import running_registry

RUNS = 9
USER = "slipway-build"
BUSYBOX = Path("/bin/busybox")
BASE = 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
TINY = """\
FROM {base}
ENV GREETING=hello
WORKDIR /app
COPY greeting.txt .
RUN cat greeting.txt > copy.txt
CMD ["cat", "/app/copy.txt"]
"""


def zipped(files: dict[str, bytes | Path]) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for name, content in files.items():
            if isinstance(content, Path):
                archive.write(content, name)
            else:
                archive.writestr(name, content)
    return file.getvalue()


class Bare:
    """The same build and push without Slipway: no wall, no log, no database."""

    def __init__(self, folder: Path, registry: str) -> None:
        self.folder = folder
        self.registry = registry
        for name in ("store", "run", "tmp", "context"):
            (folder / name).mkdir(parents=True)
        subprocess.run(["chown", "-R", USER, folder], check=True)

    def build(self, dockerfile: str, greeting: str, tag: str, log: int = DEVNULL) -> float:
        """Seconds; what it prints goes to the file `log`."""
        (self.folder / "context" / "greeting.txt").write_text(greeting)
        (self.folder / "context" / "Dockerfile").write_text(dockerfile)
        image = f"{self.registry}/bare/tiny:{tag}"
        began = time.monotonic()
        self._buildah(
            *("build", "--layers", "--isolation=rootless", "--runtime=runc", "--network=host"),
            *("--tls-verify=false", "--label", f"n={tag}", "-t", image, "context"),
            log=log,
        )
        self._buildah("push", "--tls-verify=false", image)
        return time.monotonic() - began

    def _buildah(self, *arguments: str, log: int = DEVNULL) -> None:
        command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]
        command += ["buildah", f"--root={self.folder}/store", f"--runroot={self.folder}/run"]
        command += ["--storage-driver=overlay"]
        environment = {
            "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
            "HOME": str(self.folder / "tmp"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "TMPDIR": str(self.folder / "tmp"),
        }
        subprocess.run(
            [*command, *arguments],
            cwd=self.folder,
            env=environment,
            check=True,
            stdout=log,
            stderr=log,
        )

    def remove(self) -> None:
        become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]
        clear = ["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf"]
        subprocess.run([*become, *clear, f"{self.folder}/store"], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def run(instance: Instance) -> Iterator[Figure]:
    # A registry of its own for the other one: ours takes pushes from workers only.
    with (
        tempfile.TemporaryDirectory(prefix="slipway-bare-registry-") as folder,
        running_registry(Path(folder)) as registry,
    ):
        yield from compare(instance, registry)


def compare(instance: Instance, registry: str) -> Iterator[Figure]:
    client = instance.client()
    context = zipped({"busybox": BUSYBOX})
    base = send(client, BASE, context, name="bench-base", public="true")
    lines, status = watch(client, base["image_id"])
    assert status == "built and pushed", lines
    dockerfile = TINY.format(base=f"{instance.registry}/admin/bench-base:1")

    def ours(greeting: str, tag: str) -> float:
        began = time.monotonic()
        made = send(client, dockerfile, zipped({"greeting.txt": greeting.encode()}), tag=tag)
        lines, status = watch(client, made["image_id"])
        assert status == "built and pushed", lines
        return time.monotonic() - began

    bare = Bare(Path(tempfile.mkdtemp(prefix="slipway-bare-")), registry)
    bare.folder.chmod(0o755)
    try:
        ours("warm", "warm"), bare.build(dockerfile, "warm", "warm")
        for kind, greeting in (("warm", "unlike the others {n}"), ("cached", "always the same")):
            pairs = []
            for n in range(RUNS):
                text = greeting.format(n=n)
                pairs.append((ours(text, f"{kind}{n}"), bare.build(dockerfile, text, f"{kind}{n}")))
            ratio = statistics.median(mine / other for mine, other in pairs)
            mine, other = (statistics.median(each) for each in zip(*pairs, strict=True))
            yield Figure(name=f"build.{kind}.bare_buildah", value=1000 * other, unit="ms")
            yield Figure(
                name=f"build.{kind}.slipway",
                value=1000 * mine,
                unit="ms",
                ratio_to=f"build.{kind}.bare_buildah",
                ratio=ratio,
            )
    finally:
        bare.remove()
