"""Sampling: decoders, grammars, random streams, requests to samples."""
