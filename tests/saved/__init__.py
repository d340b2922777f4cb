"""Installations saved by each version, and the maker of this version's: `python -m tests.saved`, before a release.

`VERSION.tgz` is a backup of a small one that has seen most of what a home can hold; `VERSION.json` is what it answered.
"""
