"""Pure statistics of an evaluation: metrics, intervals, retention, calibration, gates."""
