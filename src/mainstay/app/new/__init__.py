"""`mainstay new`: from a database never seen, and a model file, to an installation that `check` passes.

`looking` reads, bounded and under the guard; `columns`, `tables` and `inputs` propose, each guess with its evidence;
`datasets` and `untrained` decide with them and ask; `texts` writes; `make` leads through it, `live` goes on from there.
"""
