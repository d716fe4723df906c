"""What parts of tfmed take in time and memory."""
