"""A context that is a git repository, whose configuration names programs for git to run."""

from pathlib import Path

import pytest

from builds.engine_root import Show, sandboxed
from builds.engines.sandbox.settings import EngineSettings
from builds.process import run
from tests.builds.engines.conftest import Workshop

pytestmark = pytest.mark.engine

# git looks for the missing commit at a remote, which is a program.
REPOSITORY = {
    ".git/HEAD": "ref: refs/heads/x\n",
    ".git/refs/heads/x": f"{'1' * 40}\n",
    ".git/objects/info/packs": "",
    ".git/config": """\
[core]
repositoryformatversion = 1
[extensions]
partialClone = origin
[remote "origin"]
url = "ext::bash -c :>/b/output/it-ran"
promisor = true
partialclonefilter = blob:none
fetch = +refs/heads/*:refs/remotes/origin/*
[protocol "ext"]
allow = always
""",
}


def test_the_client_runs_no_program_that_a_context_names(
    workshop: Workshop, settings: EngineSettings, tmp_path: Path
) -> None:
    spec = workshop.spec("FROM BASE\nCOPY . /context\n", files=REPOSITORY)
    run(
        sandboxed(
            settings.engine_root,
            ["git", "show", "HEAD"],
            show=Show(readable={"/b/context": spec.context}, writable={"/b/output": tmp_path}),
            network=False,
            env={"HOME": "/tmp"},
            cwd="/b/context",
        ),
        deadline=30,
        check=False,
    )
    assert (tmp_path / "it-ran").exists(), "the control shows nothing"
    workshop.build(spec)
    outputs = settings.root / "outputs"
    assert [*outputs.glob("*/layout")]
    assert not [*outputs.rglob("it-ran")]
