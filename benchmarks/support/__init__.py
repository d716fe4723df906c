"""What the scripts share: processes, sides in turn, spread, peak memory, tables."""
