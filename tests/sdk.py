"""The command line `chutes` as somebody uses it: a folder with a module, a key and its config."""

import os
import subprocess
from pathlib import Path

from tests.accounts.keypair import Keypair
from tests.instance import ROOT

CHUTES = ROOT / ".venv-sdk" / "bin" / "chutes"
MODULE = """\
from chutes.chute import Chute, NodeSelector
from chutes.image import Image

image = Image(username={username!r}, name={name!r}, tag={tag!r}, readme="made by a test")
{steps}
chute = Chute(
    username={username!r}, name="app", image=image, node_selector=NodeSelector(gpu_count=1)
)
"""
CONFIG = """\
[auth]
username = {username}
user_id = {user_id}
hotkey_seed = {seed}
hotkey_name = default
hotkey_ss58address = {hotkey}

[api]
base_url = {url}
"""


class CommandLine:
    """One user's installation."""

    def __init__(self, folder: Path, *, url: str, username: str, user_id: str, seed: int) -> None:
        self.username = username
        self.home = folder / "home"
        self.work = folder / "work"
        for each in (self.home, self.work):
            each.mkdir(parents=True)
        self.config = folder / "config.ini"
        self.config.write_text(
            CONFIG.format(
                username=username,
                user_id=user_id,
                seed=bytes([seed] * 32).hex(),
                hotkey=Keypair(seed).hotkey,
                url=url,
            )
        )

    def module(self, name: str, *steps: str, tag: str = "1", username: str = "") -> str:
        """A module with an image of these calls, such as `run_command("true")`; its reference."""
        calls = "\n".join(f"image.{step}" for step in steps)
        filled = MODULE.format(username=username or self.username, name=name, tag=tag, steps=calls)
        (self.work / "mod.py").write_text(filled)
        return "mod:chute"

    def __call__(self, *arguments: str, answer: str = "y", code: int = 0) -> str:
        """What it said, both streams together; it has to end by itself, with `code`."""
        done = subprocess.run(
            [CHUTES, *arguments],
            cwd=self.work,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "CHUTES_CONFIG_PATH": str(self.config),
                "COLUMNS": "250",
                "NO_COLOR": "1",
            },
            input=f"{answer}\n" * 3,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout
