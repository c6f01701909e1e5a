"""Where a run stands: counts, progress display, status files."""
