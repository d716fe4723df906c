"""tfmed beside MONAI: what goes in, both sides, and what they must agree on; `python -m benchmarks.peers.monai`."""
