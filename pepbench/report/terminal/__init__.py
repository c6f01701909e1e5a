"""What a report prints on a terminal."""
