"""From verdicts to things people read: terminal, Markdown, CSV, charts."""
