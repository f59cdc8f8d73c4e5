"""Trained models as things to pass on: found by name, packed, pulled, verified, described."""
