"""How fast, how lean and how cheap the platform is, side by side with its peers. `python -m benchmarks --list`"""
