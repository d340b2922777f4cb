"""Shipped for plug-in authors: conformance suites and real systems to run them against."""
