"""The paper, in torch alone: forward process, reverse process, objectives, samplers and the bound."""
