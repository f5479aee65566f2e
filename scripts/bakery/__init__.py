"""LoRA Bakery's library: one module a stage, and the nouns that stages share.

Doors (`scripts/<stage>.py`) call stage modules; stage modules call nouns; nothing points back.
"""
