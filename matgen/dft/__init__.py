"""First-principles calculations of many crystals: folders, runs, results."""
