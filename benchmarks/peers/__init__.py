"""tfmed beside other packages, both sides in turn on one machine."""
