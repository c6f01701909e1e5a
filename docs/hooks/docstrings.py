"""Docstrings as mkdocstrings wants them: roles and doubled quotes become Markdown."""

import griffe

from pepbench.report.cards import docstring_markdown


class Markdown(griffe.Extension):
    """Rewrites every docstring that is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:  # noqa: ARG002
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = docstring_markdown(obj.docstring.value)
