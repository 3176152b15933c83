"""From policies to rules, step by step: `rules` reads them, `selection` finds whom they choose, `groups` works out
what is open to whom, `chains` writes it for nft; `explain` tells what became of one. `network_policy` joins them.

Here never lives anything that the evaluator of `check` could lean on, nor does this lean on it.
"""
