"""Attacks: what people and sites send that is no good, made by the thousand from a seed.

A kind of attack is a module of this folder with `LONG` and `SHORT`, how many cases its long and its
short form try, and `attack(seed, folder)`. The short form is part of the suite; the long form is
`python -m tests.fuzz`.
"""
