"""The paper's figures of a trained model, each with its numbers."""
