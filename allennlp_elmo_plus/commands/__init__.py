"""The commands of `elmo-plus` that work without AllenNLP, one file each, and the parts that commands share."""
