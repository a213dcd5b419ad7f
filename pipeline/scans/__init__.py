"""Scans in."""
