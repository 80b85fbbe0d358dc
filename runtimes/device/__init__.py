"""Bundles on devices that have no Python: a runner of our own, over adb or ssh."""
