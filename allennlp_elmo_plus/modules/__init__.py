"""The `nn.Module`s of a biLM, and the builder that makes them from options."""
