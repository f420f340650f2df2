"""Engines at work, and where they are found."""
