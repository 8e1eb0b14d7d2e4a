"""The training step of `graphgrad bench` in graphgrad and in its peers, one plain file each.

Each file is loaded by its path in a process of its own (see `graphgrad.performance.bench_worker`),
the only one that imports its library. The step is written as users of that library would write it,
and reads graphgrad's initial weights by their names.
"""
