"""One trial, tuning, final runs, executors and progress."""
