"""Sides that do the same, run in turn in one process, and what is printed of them."""

import statistics
import time


def in_turn(sides, rounds):
    """({name: seconds of each round}, {name: result}); every side is run once before, which traces and compiles.

    Args:
        sides: {name: function without arguments}.
        rounds: how often each is timed, one after the other in each round.
    """
    results = {name: side() for name, side in sides.items()}
    times = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            begun = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - begun)
    return times, results


def report(name, times, reference=None, peer="scipy"):
    """Print a side's milliseconds, median (fastest - slowest), and the peer's times as ratios to it, round by round."""
    text = f"{name:28s} {1e3 * statistics.median(times):9.2f} ms ({1e3 * min(times):.2f} - {1e3 * max(times):.2f})"
    if reference:
        ratios = [one / other for one, other in zip(reference, times, strict=True)]
        text += f"   {peer} / this {statistics.median(ratios):5.1f} ({min(ratios):.1f} - {max(ratios):.1f})"
    print(text, flush=True)
