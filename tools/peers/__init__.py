"""The engines of `graphgrad bench`: graphgrad, and its peers, one plain file each.

Each file is loaded by its path in a process of its own (see `graphgrad.performance.bench_worker`),
and only there is its library imported. A peer is declared as its own users would declare it, and
reads graphgrad's first weights by their names.
"""
