"""What the recipes cost on H100s, on paper; and whether the paper's formulas hold where it can be measured."""
