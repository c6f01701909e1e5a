"""Convert docstrings to Markdown for mkdocstrings: roles and double backquotes."""

import griffe

from pepbench.report.cards import docstring_markdown


class Markdown(griffe.Extension):
    """Converts every docstring that is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:  # noqa: ARG002
        """Convert the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = docstring_markdown(obj.docstring.value)
