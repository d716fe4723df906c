"""Methods on real data sets."""
