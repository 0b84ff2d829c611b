"""One parametrised test per role: every member of the role keeps its contract."""
