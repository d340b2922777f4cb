"""Typed clients of an integration's API, written out of its API contract: one file each."""
