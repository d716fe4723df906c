"""The sides of `benchmarks/vs_monai.py`: what goes in, ours, the peers', and how a process measures itself."""
