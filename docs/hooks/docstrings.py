"""Convert docstrings to Markdown for mkdocstrings: roles, double backquotes and doctests."""

import re

import griffe

from pepbench.report.cards import docstring_markdown

DOCTEST = re.compile(r"^>>> .+(?:\n.+)*", re.M)


class Markdown(griffe.Extension):
    """Converts every docstring that is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:  # noqa: ARG002
        """Convert the docstring of a module, class, function or attribute."""
        if obj.docstring:
            text = docstring_markdown(obj.docstring.value)
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", text)
