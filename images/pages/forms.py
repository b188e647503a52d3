"""Forms of the pages: for a new build, and for the description of an image."""

from collections.abc import Callable
from typing import Any, TypeVar

from django import forms

from builds.build_options import (
    ARGS_CHARACTERS,
    LABELS_BYTES,
    TEXT_CHARACTERS,
    OptionRefused,
    check_build_args,
    check_labels,
    check_target,
)
from images import naming
from images.catalog import Wanted

T = TypeVar("T")
PAIRS_HINT = "takes one NAME=value on each line"


class TextArea(forms.CharField):
    """Restores line ends: browsers send CR and LF."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"strip": False, "required": False, **options})

    def to_python(self, value: Any) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n")


class SendForm(forms.Form):
    """A Dockerfile and its context, sent from the browser."""

    name = forms.CharField(max_length=max(naming.NAME_LENGTH))
    tag = forms.CharField(max_length=128)
    public = forms.BooleanField(required=False)
    readme = TextArea(max_length=TEXT_CHARACTERS)
    dockerfile = TextArea(max_length=TEXT_CHARACTERS, required=True)
    context = forms.FileField(required=False, allow_empty_file=True)
    keep_context = forms.BooleanField(required=False)
    replace = forms.BooleanField(required=False)
    build_args = TextArea(max_length=ARGS_CHARACTERS)
    labels = TextArea(max_length=2 * LABELS_BYTES)
    target = forms.CharField(required=False)
    no_cache = forms.BooleanField(required=False)
    pull = forms.BooleanField(required=False)

    def clean_name(self) -> str:
        return _checked(naming.check_name, str(self.cleaned_data["name"]))

    def clean_tag(self) -> str:
        return _checked(naming.check_tag, str(self.cleaned_data["tag"]))

    def clean_target(self) -> str:
        return _checked(check_target, str(self.cleaned_data["target"]))

    def clean_dockerfile(self) -> str:
        text: str = self.cleaned_data["dockerfile"]
        if not text.strip():
            raise forms.ValidationError("The Dockerfile is empty.")
        return text

    def clean_build_args(self) -> dict[str, str]:
        found = pairs(self.cleaned_data["build_args"])
        for name in found:
            if not naming.ARGUMENT.fullmatch(name):
                text = f"{name[:100]} is no name of a build argument: use letters, digits and _."
                raise forms.ValidationError(text)
        return _checked(check_build_args, found)

    def clean_labels(self) -> dict[str, str]:
        return _checked(check_labels, pairs(self.cleaned_data["labels"]))

    def wanted(self) -> Wanted:
        data = self.cleaned_data
        return Wanted(
            name=data["name"],
            tag=data["tag"],
            dockerfile=data["dockerfile"],
            described={"readme": data["readme"], "public": data["public"]},
            replace=data["replace"],
            build_args=data["build_args"],
            labels=data["labels"],
            target=data["target"],
            no_cache=data["no_cache"],
            pull=data["pull"],
        )


class DescribeForm(forms.Form):
    """Fields that an owner can change without a build."""

    readme = TextArea(max_length=TEXT_CHARACTERS)
    public = forms.BooleanField(required=False)
    logo = forms.FileField(required=False)
    no_logo = forms.BooleanField(required=False)

    def problems(self) -> list[str]:
        """The errors as sentences that name their fields."""
        found = self.errors.items()
        return [f"{name.capitalize()}: {each}" for name, texts in found for each in texts]


def pairs(text: str) -> dict[str, str]:
    """Parses lines of NAME=value; blank lines are ignored. Raises ValidationError."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise forms.ValidationError(f"This field {PAIRS_HINT}, not {line.strip()[:100]!r}.")
        found[name.strip()] = value
    return found


def _checked(check: Callable[[T], None], value: T) -> T:
    try:
        check(value)
    except (naming.BadName, OptionRefused) as problem:
        text = str(problem)
        text = (
            f"This field {text}"
            if text.startswith(("takes", "must"))
            else text[:1].upper() + text[1:]
        )
        raise forms.ValidationError(f"{text}.") from problem
    return value
