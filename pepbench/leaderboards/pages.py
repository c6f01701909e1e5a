"""The parts of README files that are made from records, between markers."""

from __future__ import annotations

from pathlib import Path

from pepbench.errors import RecordError

BEGIN = "<!-- pepbench leaderboard: begin -->"
END = "<!-- pepbench leaderboard: end -->"


def with_generated(path: Path, text: str, title: str) -> bytes:
    """A page with the part between the markers replaced; all else stays as it was written.

    Parameters
    ----------
    path
        The page; a new one is made if it is not there.
    text
        Markdown.
    title
        Of a new page.

    Raises
    ------
    RecordError
        If the page has no markers, or not one of each in order.
    """
    part = f"{BEGIN}\n\n{text.strip()}\n\n{END}"
    try:
        page = path.read_text("utf-8")
    except FileNotFoundError:
        return f"# {title}\n\n{part}\n".encode()
    before, after = _around(page, path)
    return f"{before}{part}{after}".encode()


def is_in_step(path: Path, text: str) -> bool:
    """Whether a page's generated part is this text."""
    return path.is_file() and with_generated(path, text, "") == path.read_bytes()


def _around(page: str, path: Path) -> tuple[str, str]:
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise RecordError(
            f"{path}: needs one line {BEGIN!r} and, below it, one {END!r}, between which the "
            "generated part goes"
        )
    return page.split(BEGIN)[0], page.split(END)[1]
