"""The experiments that belong to the method: `python -m benchmarks.experiments NAME`.

Each is a module with two functions. `measure(workshop)` returns plain figures, for JSON. `report(figures)` turns these
into sentences, a table and a picture, and needs nothing else: what stands in docs/experiments can be written anew from
benchmarks/results without measuring again.
"""
