"""From records to verdicts: pure functions, frames in and frames out; never imports torch."""
