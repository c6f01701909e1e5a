"""Hooks that mkdocs calls while it builds the site.

Pages and pictures outside docs/ appear on the site below repository/, under their path in the
repository. Pages of the published boards are generated, below boards/. A link to a file that is not
on the site becomes plain text. Markers in docs/reference/ are replaced by text generated from the
code, so that it cannot become outdated.
"""

import posixpath
import re
from pathlib import Path

import reference
from board_pages import board_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "*/README.md",
    "results/leaderboards.md",
    "results/**/README.md",
    "results/**/details.md",
    "results/**/replication.md",
)
WIDE = ("boards/", "repository/results/")
"""Pages whose tables get the room of the side bar."""
SHOWN = (".png", ".svg", ".html")
LINK = re.compile(r"^```.*?^```$|(!?)\[([^\]]*)\]\(([^)#\s:]+)(#[^)\s]*)?\)", re.M | re.S)
GENERATED = re.compile(r"<!-- generated: ([\w ]+) -->")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages of boards, and pages outside docs/ with the pictures and reports that they show."""
    for path, content in board_pages(ROOT / "results").items():
        files.append(File.generated(config, f"boards/{path}", content=content))
    pages = [page for pattern in OUTSIDE for page in sorted(ROOT.glob(pattern))]
    beside = (
        (page.parent / target).resolve()
        for page in pages
        for _, _, target, _ in LINK.findall(page.read_text("utf-8"))
        if target.endswith(SHOWN)
    )
    shown = [path for path in beside if path.is_file() and path.is_relative_to(ROOT)]
    for path in dict.fromkeys([*pages, *shown]):
        uri = site_uri(path.relative_to(ROOT).as_posix())
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Fill in generated text and rewrite links to their targets on the site."""
    filled = GENERATED.sub(lambda match: reference.PARTS[match[1]](), markdown)
    uris = {file.src_uri for file in files}
    if page.file.src_uri.startswith(WIDE):
        page.meta.setdefault("hide", ["navigation"])
    return with_site_links(filled, repository_path(page.file.src_uri), uris)


def site_uri(path: str) -> str:
    """Return the path on the site of a file of the repository."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"repository/{path}"


def repository_path(uri: str) -> str:
    """Return the path in the repository of a file of the site."""
    return uri.removeprefix("repository/") if uri.startswith("repository/") else f"docs/{uri}"


def with_site_links(markdown: str, path: str, uris: set[str]) -> str:
    """Return the Markdown of the repository's file ``path`` with links that work on the site."""
    here = posixpath.dirname(path)

    def link(match: re.Match[str]) -> str:
        if match[3] is None:  # a block of code
            return match[0]
        target = posixpath.normpath(posixpath.join(here, match[3]))
        uri = site_uri(target)
        if uri not in uris:
            return match[0] if target.startswith("docs/") else f"{match[2]} (`{target}`)"
        relative = posixpath.relpath(uri, posixpath.dirname(site_uri(path)) or ".")
        return f"{match[1]}[{match[2]}]({relative}{match[4] or ''})"

    return LINK.sub(link, markdown)
