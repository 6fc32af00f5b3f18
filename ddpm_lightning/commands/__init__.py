"""Where train.py, sample.py … and conf/ lie in the installed package: python -m ddpm_lightning.commands.train."""
