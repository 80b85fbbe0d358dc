"""Trains the small variants of the five families on real pictures, so that accuracy is measured."""
