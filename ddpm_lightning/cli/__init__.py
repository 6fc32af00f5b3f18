"""The commands, one file each: `ddpm train` or `python train.py`, `ddpm sample` or `python sample.py`, …"""
