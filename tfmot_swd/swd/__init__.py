"""Selective Weight Decay."""
