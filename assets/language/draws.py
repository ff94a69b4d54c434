"""Random draws that give the same values on every machine and Python version.

Only `random.Random.random()` is used: Python promises its sequence for a given seed, and for none of its other methods.
"""
import random


class Draws:
    """Draws from the stream of `seed`."""

    def __init__(self, seed):
        self.random = random.Random(seed).random

    def below(self, n):
        """An integer in [0, n)."""
        return int(self.random() * n)

    def between(self, low, high):
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def pick(self, items):
        """One of `items`."""
        return items[self.below(len(items))]

    def some(self, items, count):
        """`count` different items, in random order."""
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(count)]

    def chance(self, probability):
        """True with `probability`."""
        return self.random() < probability
