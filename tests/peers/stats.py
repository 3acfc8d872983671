"""What a few samples of the same thing say. Shared machines have outliers on one side: medians, and the spread beside."""
import math


def quantile(ordered, q):
    """Of sorted samples, linear between neighbours (the definition that numpy and R use by default)."""
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def summary(samples):
    """None where there are none."""
    if not samples:
        return None
    ordered = sorted(samples)
    return {"median": quantile(ordered, 0.5), "min": ordered[0], "max": ordered[-1], "q1": quantile(ordered, 0.25),
            "q3": quantile(ordered, 0.75), "samples": list(samples)}


def ratio(ours, theirs):
    """How many times the median of `theirs` the median of `ours` is, and the range of that over runs that took turns."""
    if not ours or not theirs:
        return None
    pairs = [a / b for a, b in zip(ours, theirs) if b]
    median = quantile(sorted(theirs), 0.5)
    if not median or not pairs:
        return None
    return {"median": quantile(sorted(ours), 0.5) / median, "min": min(pairs), "max": max(pairs)}
