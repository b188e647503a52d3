"""What is in an image, on its page; and readmes, which strangers write."""

import gzip
import io
import tarfile
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import orjson
import pytest
import zstandard
from django.test import Client

from builds import runner
from builds.models import Build
from builds.registry.contents import FOREIGN, MOST_LAYERS, TEXT_CHARACTERS, describe
from builds.registry.layer_files import Look, layer_files
from images.models import Image
from images.pages import contents
from images.pages.markdown import MOST_BYTES, TAGS, render_markdown
from tests.conftest import script
from tests.images.conftest import Send, built, text

pytestmark = pytest.mark.usefixtures("uncollected")


def described(config: Any, layers: Any = ()) -> dict[str, Any]:
    return describe(orjson.dumps({"layers": list(layers)}), orjson.dumps(config))


def layer(number: int) -> dict[str, Any]:
    return {"digest": f"sha256:{number}", "size": number, "mediaType": "tar"}


def test_layers_are_told_with_the_instruction_that_made_each() -> None:
    history = [
        {"created_by": "RUN make # buildkit"},
        {"created_by": "ENV A=b", "empty_layer": True},
        {"created_by": "COPY a b # buildkit"},
    ]
    found = described({"history": history, "os": "linux"}, [layer(1), layer(2)])
    assert found["layers"] == [
        ["sha256:1", 1, "tar", "RUN make"],
        ["sha256:2", 2, "tar", "COPY a b"],
    ]
    unfit = described({"history": history[:1]}, [layer(1), layer(2)])
    assert [words for *_, words in unfit["layers"]] == ["", ""]


def test_the_config_is_told_in_bounds() -> None:
    config = {
        "Env": [f"A{at}={'x' * 5_000}" for at in range(1_000)],
        "Labels": {f"l{at}": "\0\ud800" for at in range(1_000)},
        "Entrypoint": ["/bin/sh"],
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"]},
    }
    raw = orjson.dumps({k: v for k, v in config.items() if k != "Labels"})
    found = describe(
        orjson.dumps({"layers": [layer(1)] * 500}),
        b'{"config": ' + raw[:-1] + b', "Labels": {"l": "\\u0000x"}}}',
    )
    assert len(orjson.dumps(found)) < 300_000
    assert found["labels"] == [["l", "x"]]
    assert len(found["environment"][0][1]) < TEXT_CHARACTERS
    assert (found["ports"], found["healthcheck"]) == (["80/tcp"], ["CMD", "true"])
    assert (len(found["layers"]), found["layer_count"]) == (MOST_LAYERS, 500)


@pytest.mark.parametrize("config", [[], "x", 1, {"config": []}, {"config": {"Labels": [1]}}])
def test_a_config_that_is_none_is_refused(config: Any) -> None:
    with pytest.raises(FOREIGN):
        described({"history": config, "config": config}, [layer(1)] if config else ["x"])


def tar_of(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def member(name: str, content: bytes = b"", **values: Any) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(made, key, value)
    return made, content


def cut(data: bytes, size: int = 1_000) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_the_files_of_a_layer_are_listed(pack: Any, kind: int) -> None:
    long = f"{'folder/' * 30}ünï"
    data = tar_of(
        member("etc/", type=tarfile.DIRTYPE, mode=0o755),
        member("etc/passwd", b"root" * 300, mode=0o644),
        member(long, b"x"),
        member("etc/.wh.shadow"),
        member("opt/.wh..wh..opq"),
        member("dev/null", type=tarfile.CHRTYPE),
        member("link", type=tarfile.SYMTYPE, linkname="etc"),
        kind=kind,
    )
    found = layer_files(cut(pack(data)))
    assert (found.whole, found.readable) == (True, True)
    assert [(each.path, each.kind, each.size) for each in found.files] == [
        ("/etc", "folder", 0),
        ("/etc/passwd", "file", 1200),
        (f"/{long}", "file", 1),
        ("/etc/shadow", "removed", 0),
        ("/opt/*", "removed", 0),
        ("/dev/null", "device", 0),
        ("/link", "link", 0),
    ]
    assert found.files[1].mode == "0644"


def test_a_look_at_a_layer_ends_at_its_bounds() -> None:
    many = tar_of(*(member(f"f{at}", b"x") for at in range(50)))
    assert len(layer_files(cut(many), Look(files=10)).files) == 10
    bomb = gzip.compress(tar_of(member("zeros", bytes(3_000_000)), member("after")))
    for look in (Look(bytes=1_000_000), Look(compressed_bytes=1_500), Look(seconds=-1)):
        found = layer_files(cut(bomb), look)
        assert (found.whole, found.readable) == (False, True)
        assert len(found.files) <= 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 5_000,
        b"\x1f\x8bnot gzip",
        b"\x28\xb5\x2f\xfdnot zstd",
        tar_of(member("a", b"x" * 900))[:700],
        gzip.compress(tar_of(member("a")), mtime=0)[:-20],
    ],
)
def test_a_layer_that_is_no_archive_is_said_to_be_none(data: bytes) -> None:
    assert not layer_files(cut(data)).readable


@pytest.mark.django_db(transaction=True)
def test_the_page_tells_layers_config_and_how_to_pull(
    mine: Client, theirs: Client, send: Send
) -> None:
    image = built(send(public="true"))
    mine.post(f"/i/{image.pk}/rebuild")
    runner.run(Build.objects.get(image_id=image.pk, number=2).pk)
    page = text(theirs.get(f"/i/{image.pk}?tab=image"))
    assert '<code class="instruction">scripted</code>' in page
    assert f"slipway.build={Build.objects.get(image_id=image.pk, number=2).pk}" in page
    assert "podman pull --tls-verify=false " in page
    assert "skopeo copy --src-tls-verify=false docker://" in page
    assert "the same, <a" in page
    assert "as attempt 1" in page
    first = text(theirs.get(f"/i/{image.pk}?tab=image&attempt=1"))
    assert f"owner/my-app@{Build.objects.get(image_id=image.pk, number=1).digest}" in first
    stored = Build.objects.get(image_id=image.pk, number=2).contents
    assert stored is not None
    (digest, *_), *_ = stored["layers"]
    files = text(theirs.get(f"/i/{image.pk}?tab=image&layer={digest}"))
    assert "<code>/Dockerfile</code>" in files
    assert "1 entry." in files
    other = text(theirs.get(f"/i/{image.pk}?tab=image&layer=sha256:{'0' * 64}"))
    assert 'id="files"' not in other


@pytest.mark.django_db(transaction=True)
def test_the_contents_of_older_images_are_read_from_the_registry_once(
    mine: Client, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = built(send())
    before = Build.objects.get().contents
    Build.objects.update(contents=None)
    assert "scripted" in text(mine.get(f"/i/{image.pk}?tab=image"))
    assert Build.objects.get().contents == before
    Build.objects.update(contents=None)
    monkeypatch.setattr(contents, "MOST_BYTES", 10)
    assert "contents cannot be shown" in text(mine.get(f"/i/{image.pk}?tab=image"))
    monkeypatch.setattr(contents._looks, "acquire", lambda **_: False)
    assert "contents cannot be shown" in text(mine.get(f"/i/{image.pk}?tab=image"))
    Build.objects.update(contents=before)
    assert before is not None
    layer = before["layers"][0][0]
    contents._known.clear()
    assert "Another layer is being read" in text(mine.get(f"/i/{image.pk}?tab=image&layer={layer}"))


@pytest.mark.django_db(transaction=True)
def test_what_is_in_a_private_image_is_for_its_owner(
    mine: Client, theirs: Client, send: Send
) -> None:
    image = built(send())
    assert mine.get(f"/i/{image.pk}?tab=image").status_code == 200
    assert theirs.get(f"/i/{image.pk}?tab=image").status_code == 404
    failed = built(send(name="failed", dockerfile=script("exit 1")))
    assert "tab=image" not in text(mine.get(f"/i/{failed.pk}?tab=image"))


def test_readmes_are_markdown() -> None:
    shown = render_markdown("# Hi\n\n**b** ~~d~~ `c`\n\n|a|b|\n|-|:-:|\n|1|2|\n\n- [x] done\n")
    assert shown
    for part in ("<h1>Hi</h1>", "<strong>b</strong>", "<del>d</del>", '<td align="center">2</td>'):
        assert part in shown
    assert "☑ done" in shown


@pytest.mark.parametrize(
    "markdown",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg><script>alert(1)</script></svg>",
        "<iframe src=javascript:alert(1)>",
        "<style>*{display:none}</style>",
        "<form action=/sign-out><button>x</button></form>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<a href='java&#115;cript:alert(1)'>x</a>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](\x01javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](vbscript:x)",
        "<javascript:alert(1)>",
        "[x](/sign-out)",
        "[x](//evil.example/x)",
        "[x](i/other)",
        "![x](https://evil.example/track.png)",
        '![x" onerror="alert(1)](https://e.example/"onerror=alert(1))',
        "![<img src=x onerror=alert(1)>](x)",
        "[x]: javascript:alert(1)\n[x]",
        "<div style='position:fixed;top:0' class=reason id=head>x</div>",
        '[x](https://e.example "onmouseover=alert(1)")',
        '```" onload=alert(1) \n</code></pre><script>alert(1)</script>\n```',
        "\0<script>alert(1)</script>",
    ],
)
def test_nothing_of_a_readme_runs_loads_or_leads_into_this_site(markdown: str) -> None:
    html = render_markdown(markdown)
    assert html is not None
    found = Elements()
    found.feed(html)
    for tag, attributes in found.all:
        assert tag in TAGS
        assert attributes.keys() <= {"href", "rel", "align"}
        if "href" in attributes:
            assert attributes["href"].startswith(("https://", "http://", "mailto:", "#"))
            assert "noopener" in attributes["rel"]


class Elements(HTMLParser):
    """All start tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.all.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "piece", ["[", ">", "* ", "![", "[a](", "**a *b ", "<a ", "`", "|a|\n|-|\n"]
)
def test_hostile_readmes_are_rendered_within_their_bound(piece: str) -> None:
    assert render_markdown((piece * MOST_BYTES)[:MOST_BYTES]) is not None
    assert render_markdown(piece * MOST_BYTES + "x") is None


@pytest.mark.django_db(transaction=True)
def test_a_readme_that_is_too_long_is_shown_as_text(mine: Client, send: Send) -> None:
    image_id = send(readme="# Title").json()["image_id"]
    assert "<h1>Title</h1>" in text(mine.get(f"/i/{image_id}?tab=readme"))
    Image.objects.update(readme="# <b>" + "x" * MOST_BYTES)
    assert "# &lt;b&gt;xxx" in text(mine.get(f"/i/{image_id}?tab=readme"))
