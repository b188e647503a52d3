"""Renders readmes from Markdown to safe HTML, which runs no scripts and loads nothing."""

import re

import cmarkgfm
import nh3
from django.utils.safestring import SafeString, mark_safe

MOST_BYTES = 32 * 1024
"""Longer Markdown is not rendered: deep nesting takes quadratic time."""
TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr"),
    *("li", "ol", "p", "pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
ATTRIBUTES: dict[str, set[str]] = {"*": set(), "a": {"href"}, "td": {"align"}, "th": {"align"}}
LINKS = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)
REL = "nofollow noopener noreferrer ugc"
# cmark escapes quotes within.
_IMAGE = re.compile(r'<img src="([^"]*)" alt="([^"]*)"[^>]*/>')
_TASK = re.compile(r'<input type="checkbox"( checked="")? disabled="" />')


def render_markdown(text: str) -> SafeString | None:
    """None if the text is too long; then it is shown as plain text."""
    if len(text.encode(errors="replace")) > MOST_BYTES:
        return None
    html = cmarkgfm.github_flavored_markdown_to_html(text.replace("\0", ""))
    # Pictures on other servers would reveal who reads the page, so they become links.
    html = _IMAGE.sub(lambda hit: f'<a href="{hit[1]}">{hit[2] or hit[1]}</a>', html)
    html = _TASK.sub(lambda hit: "☑" if hit[1] else "☐", html)
    clean = nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"http", "https", "mailto"},
        link_rel=REL,
    )
    return mark_safe(clean)  # noqa: S308  (nh3 left nothing else)


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Relative links of a readme mean its own repository, but would lead into this site."""
    return value if name != "href" or LINKS.match(value) else None
