"""The reader of images: what it says of layers is what the whole suite rests on."""

import io
import tarfile
from pathlib import Path

import pytest

from tests.conformance.image import Tree, apply_layer, names_of


@pytest.fixture
def layer(tmp_path: Path) -> "LayerWriter":
    return LayerWriter(tmp_path)


class LayerWriter:
    """Writes one layer after another and applies each to `tree`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree: Tree = {}

    def __call__(self, *members: str, links: dict[str, str] | None = None) -> None:
        """Files, folders (a name that ends in "/"), and hard links to them."""
        path = self.folder / "layer.tar"
        with tarfile.open(path, "w:gz") as archive:
            for name in members:
                info = tarfile.TarInfo(name.rstrip("/"))
                info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
                info.size = 0 if name.endswith("/") else len(name)
                archive.addfile(info, io.BytesIO(name.encode()))
            for name, target in (links or {}).items():
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.LNKTYPE, target
                archive.addfile(info)
        apply_layer(self.tree, path)


def test_a_whiteout_removes_a_file_and_a_folder_with_its_content(layer: LayerWriter) -> None:
    layer("d/", "d/a", "d/b", "e/", "e/c", "ef")
    layer("d/.wh.a", ".wh.e")
    assert sorted(layer.tree) == ["/d", "/d/b", "/ef"]


def test_an_opaque_folder_keeps_only_what_its_own_layer_holds(layer: LayerWriter) -> None:
    layer("d/", "d/old", "d/sub/", "d/sub/old", "dd")
    layer("d/", "d/new", "d/.wh..wh..opq")
    assert sorted(layer.tree) == ["/d", "/d/new", "/dd"]


def test_a_whiteout_does_not_remove_what_its_own_layer_adds(layer: LayerWriter) -> None:
    layer("d/", "d/old")
    layer("d/", "d/new", ".wh.d")
    assert sorted(layer.tree) == ["/d", "/d/new"]


def test_a_file_replaces_a_folder_and_a_folder_keeps_its_content(layer: LayerWriter) -> None:
    layer("d/", "d/a", "e/", "e/b")
    layer("d", "e/")
    assert {path: entry.kind for path, entry in layer.tree.items()} == {
        "/d": "file",
        "/e": "dir",
        "/e/b": "file",
    }


def test_hard_links_are_one_inode_until_a_layer_replaces_one(layer: LayerWriter) -> None:
    layer("a", links={"b": "a", "c": "a"})
    assert names_of(layer.tree, "/b") == ["/a", "/b", "/c"]
    layer("c")
    assert names_of(layer.tree, "/a") == ["/a", "/b"]
    assert layer.tree["/b"].content == b"a"


def test_a_hard_link_may_lead_to_a_lower_layer(layer: LayerWriter) -> None:
    layer("a")
    layer(links={"b": "a"})
    assert names_of(layer.tree, "/a") == ["/a", "/b"]
