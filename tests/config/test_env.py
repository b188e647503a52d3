import re
from dataclasses import fields
from pathlib import Path

import pytest

from config.env import BadEnvironment, Environment, load, private_folder, secret_key

ROW = re.compile(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? \| (.*) \|$", re.MULTILINE)


def test_every_variable_is_documented_with_its_default_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    known = [
        (each.metadata["name"], each.metadata["default"], each.metadata["meaning"])
        for each in fields(Environment)
    ]
    assert ROW.findall(page) == known


def test_an_empty_environment_gives_what_a_laptop_needs() -> None:
    env = load({})
    assert (env.host, env.port, env.workers, env.deadline) == ("127.0.0.1", 8000, 2, 3600)
    assert env.data_dir == Path("var").absolute()


def test_all_bad_values_are_named_at_once_with_what_they_take() -> None:
    with pytest.raises(BadEnvironment) as problem:
        load({"SLIPWAY_PORT": "http", "SLIPWAY_ENGINE": "kaniko", "SLIPWAY_DEBUG": "maybe"})
    text = str(problem.value)
    assert "SLIPWAY_PORT='http': takes a whole number" in text
    assert "SLIPWAY_ENGINE='kaniko': takes one of buildkit, scripted" in text
    assert "SLIPWAY_DEBUG='maybe': takes yes or no" in text


def test_the_secret_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = secret_key(path)
    assert len(made) >= 50
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret_key(path) == made


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadEnvironment, match=r"SLIPWAY_DATA_DIR: cannot make .*file/data"):
        private_folder(tmp_path / "file" / "data")


def test_a_variable_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from the file\n")
    assert load({"SLIPWAY_SECRET_KEY_FILE": str(file)}).secret_key == "from the file"
    assert load({"SLIPWAY_PORT_FILE": ""}).port == 8000


def test_a_file_that_cannot_be_read_or_is_one_too_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadEnvironment, match=r"SLIPWAY_SECRET_KEY_FILE=.*cannot be read"):
        load({"SLIPWAY_SECRET_KEY_FILE": str(tmp_path / "none")})
    (tmp_path / "key").write_text("x")
    both = {"SLIPWAY_SECRET_KEY": "y", "SLIPWAY_SECRET_KEY_FILE": str(tmp_path / "key")}
    with pytest.raises(BadEnvironment, match="both set"):
        load(both)
