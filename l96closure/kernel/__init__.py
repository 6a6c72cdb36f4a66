"""Compiled sums over samples."""
