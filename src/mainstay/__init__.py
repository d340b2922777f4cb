"""Mainstay: the integration layer between a trained model and the business that is to use it."""

__version__ = "0.1.0"
