"""Tables, JSON values and atomic file writes."""
