"""nftables as data: tables, chains, rules, sets and maps, their text and their netlink bytes.

Here live the nouns that components write rules with (`objects`, `statements`, `datatypes`), the difference of two
tables as one transaction (`transaction`), and both renderings: the text that `nft -f` reads (`text`) and the
netlink attributes that the kernel reads (`wire`). Here never live sockets, namespaces, or what the rules mean.

The vocabulary is a subset of nft(8) chosen so that every rule has one canonical encoding: what the kernel dumps
for a rule equals, attribute for attribute, what was sent. That makes `observe` and `diff` exact.
"""
