"""
The biLM in plain PyTorch: nothing here imports AllenNLP.

One file a stage, in the order data flows: text -> character ids -> encoded corpus -> lanes -> batch -> token encoder -> biLM ->
softmax loss, or layer representations.

Letters used for shapes throughout:

| Letter | Meaning |
|---|---|
| B | rows of a batch: lanes of running text, or sentences |
| T | time steps of a window, or words of the longest sentence |
| C | character positions of a word |
| U | distinct words of a batch |
| D | width of one direction (`projection_dim`) |
| V | words in the vocabulary |
| N | real (not padded) tokens of a batch |
| S | negative samples of the sampled softmax |
| L | LSTM layers |
"""
