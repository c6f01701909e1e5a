"""Progress of a run: counts, display, status files."""
