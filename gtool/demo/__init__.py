"""Runs every tool once, on loopback: what a newcomer sees first, and what tells whether an installation works."""
