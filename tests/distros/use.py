"""Waits for the build of the first start, and orders one with heredocs; in a tree of its own.

The scripted engine, which builds nothing, is spared the heredocs.
"""

import os
import sys
import time
from pathlib import Path

import httpx

SECONDS = 180.0
DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY <<EOF /greeting
hello
EOF
RUN <<EOF
grep -qx hello /greeting
echo seen in a heredoc
EOF
"""


def wait_for(client: httpx.Client, name: str) -> None:
    until = time.monotonic() + SECONDS
    while True:
        answer = client.get(f"/images/{name}")
        status = answer.json().get("status") if answer.is_success else None
        if status == "built and pushed":
            return
        failed = status is not None and status.startswith("error")
        if failed or time.monotonic() > until:
            sys.exit(
                f"{name} is not built: {answer.text}\n{client.get(f'/images/{name}/logs').text}"
            )
        time.sleep(0.2)


def main(url: str) -> None:
    key = Path("var/admin.key").read_text().strip()
    with httpx.Client(base_url=url, headers={"Authorization": key}, trust_env=False) as client:
        wait_for(client, "hello:latest")
        if os.environ.get("SLIPWAY_ENGINE") == "scripted":
            return
        fields = {
            "username": "admin",
            "name": "heredoc",
            "tag": "1",
            "readme": "",
            "logo_id": "__none__",
            "public": "false",
            "wait": "false",
            "image": "",
            "dockerfile": DOCKERFILE,
        }
        context = Path("var/examples/hello.zip").read_bytes()
        files = {"build_context": ("context.zip", context, "application/zip")}
        client.post("/images/", data=fields, files=files).raise_for_status()
        wait_for(client, "heredoc:1")


if __name__ == "__main__":
    main(sys.argv[1])
