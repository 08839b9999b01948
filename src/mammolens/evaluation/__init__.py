"""Metrics with intervals, calibration and operating points."""
