"""Databases, on disk or drawn by the package, as arrays of images with their keys."""
