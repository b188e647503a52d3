"""Two processes with one database, handed the same signature at the same moment."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from django.db import connection

from accounts.models import SpentSignature, User
from tests.accounts.keypair import Keypair
from tests.instance import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

SIGNER = Keypair(3)
ROUNDS = 50


@pytest.fixture
def askers(owner: User) -> Iterator[list["subprocess.Popen[str]"]]:
    owner.hotkey = SIGNER.hotkey
    owner.save()
    name = str(connection.settings_dict["NAME"])
    with ExitStack() as stack:
        found = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.accounts.asker", name],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        for each in found:
            assert said(each) == "ready"
        yield found
        for each in found:
            assert each.stdin is not None
            each.stdin.close()
            assert each.wait(30) == 0


def said(asker: "subprocess.Popen[str]") -> str:
    assert asker.stdout is not None
    return str(asker.stdout.readline().strip())


def test_exactly_one_of_them_accepts_it(askers: list["subprocess.Popen[str]"]) -> None:
    answers = []
    for _ in range(ROUNDS):
        line = json.dumps(SIGNER.headers("images")) + "\n"
        for each in askers:
            assert each.stdin is not None
            each.stdin.write(line)
        for each in askers:
            assert each.stdin is not None
            each.stdin.flush()
        answers.append(sorted(said(each) for each in askers))
    assert answers == [["200", "401"]] * ROUNDS
    assert SpentSignature.objects.count() == ROUNDS
