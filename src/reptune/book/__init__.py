"""What only the chapters need: setup, figures, records."""
