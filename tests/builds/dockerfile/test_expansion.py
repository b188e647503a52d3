"""Variables in FROM, with the values that BuildKit 0.13 gave them."""

import pytest

from builds.dockerfile import DockerfileRefused, read

ARGUMENTS = r"""ARG V=
ARG N
ARG W=xxbox
ARG L=box-a-b
ARG S=boox
ARG A=xaba
ARG P=a.b.c
ARG Q=*x
ARG E=a/b
ARG B=box
ARG L2="a b"
ARG U=$A-${B}
ARG BAD=${B
"""
LINE = ARGUMENTS.count("\n") + 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("${V:-box}", "busybox"), ("${V-box}", "busy"), ("${W:+box}", "busybox"),
        ("${N+box}", "busybox"), ("${V:-${N:-bo}}x", "busybox"), ("$B", "busybox"),
        ('"$B"', "busybox"), ("'b'ox", "busybox"), ("\\box", "busybox"),
        ("${B:?no}", "busybox"), ("${B?no}", "busybox"), ("$1x", "busyx"), ("$@x", "busyx"),
        ("${NO:-a}${NO:+b}", "busya"), ('${B:-"$A"}', "busybox"), ('"${NO:-a}"', "busya"),
        ("${U}", "busyxaba-box"), ("x${BAD}y", "busyxy"), ("$B_", "busy"), ("${B:-}x", "busyboxx"),
        ("${W#xx}", "busybox"), ("${W##*x}", "busy"), ("${W%y}", "busyxxbox"),
        ("${L%%-*}", "busybox"), ("${L%-*}", "busybox-a"), ("${P#*.}", "busyb.c"),
        ("${P##*.}", "busyc"), ("${P%.*}", "busya.b"), ("${P%%.*}", "busya"),
        (r"${Q#\*}", "busyx"), ("${W:#x}", "busyxbox"), ("${W:%%x*}", "busy"),
        ("${A%a}", "busyxab"), ("${A%%b*a}", "busyxa"), ("${A##*a}", "busy"),
        ("${B#[b]}", "busybox"), ('${B%"x"}', "busybo"), ("${#}", "busy"),
        ("${S/oo/o}", "busybox"), ("${S//o/}", "busybx"), ("${L/-*/}", "busybox"),
        ("${A//a*a/}", "busyx"), ("${A/?a/x}", "busyxba"), (r"${E/\//-}", "busya-b"),
        ("${B///x}", "busyxbxoxxx"), ("${P/./}", "busyab.c"), ("${P//./-}", "busya-b-c"),
        ("${P//?/y}", "busyyyyyy"), ("${P//*/y}", "busyy"), ("${A//b*/}", "busyxa"),
        ("${W/x/${B}}", "busyboxxbox"), ("${B//o/$V}", "busybx"),
        ("${\u00c9:-x}", "busyx"), ("$B\u00e9", "busy"),
    ],
)  # fmt: skip
def test_expansions_are_those_of_buildkit(text: str, name: str) -> None:
    found = read(f"{ARGUMENTS}FROM busy{text}\n", build_args={})
    assert [base.reference for base in found.bases] == [f"docker.io/library/{name}:latest"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${N:?needed}", "N: needed"), ("${NO?}", "NO: it needs a value"),
        ("${V:?x}", "V: x"), ("${B^^}", "${B^…} is not known"), ("${B:1}", "${B:1…} is not known"),
        ("${}", "${ is not followed by a name"), ("${:-x}", "${ is not followed by a name"),
        ("${", "} is missing"), ("${B", "${B…} is not known"), ("${B:-x", "} is missing"),
        ("${B/x", "/ is missing"), ("'x", "single quote is not closed"),
        ('"x', "double quote is not closed"), (r"${B#\o}", r"\o is not known in a pattern"),
        ("$", "'busy$' is not an image's name"), ("${NO:-'$A'}", "'busy$A' is not an image's name"),
        (r"${NO:-\}}", "'busy}' is not an image's name"), ("\u00e9", "is not an image's name"),
        ("${B#}", "BuildKit crashes"), ("${NO%}", "BuildKit crashes"),
    ],
)  # fmt: skip
def test_what_buildkit_cannot_expand_is_refused_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(DockerfileRefused) as refused:
        read(f"{ARGUMENTS}FROM busy{text}\n", build_args={})
    assert reason in refused.value.text
    assert refused.value.line == LINE


def test_the_escape_directive_counts_in_expansions() -> None:
    found = read("# escape=`\nARG A=`$B\nFROM busy`box${A:+x}\n", build_args={})
    assert [base.reference for base in found.bases] == ["docker.io/library/busyboxx:latest"]
