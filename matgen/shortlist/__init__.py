"""From evaluated samples to the few that are worth a calculation."""
