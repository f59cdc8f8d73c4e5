"""Array crystallography: checks, compositions, cells, oxidation states."""
