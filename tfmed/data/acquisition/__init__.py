"""What to annotate next: slices of volumes (`slices`), or whole cases whose class is asked for (`cases`)."""
