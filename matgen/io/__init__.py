"""Crystals from files and samples into files."""
