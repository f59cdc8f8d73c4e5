"""From samples to a report: relaxation, matching, measurements."""
