"""Functions that simulated processes run; pickle finds them by the name of this module."""


def square(number: int) -> int:
    return number * number
