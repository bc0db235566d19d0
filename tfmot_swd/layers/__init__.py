"""Layer families: prunable weights, channel rules and multiply-accumulates of each layer class."""
