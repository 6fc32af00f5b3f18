"""The commands: `ddpm train`, `ddpm sample` …, or `python train.py` …; one file each."""
