"""The description of a biLM: `options.json` as checked data, without PyTorch."""
