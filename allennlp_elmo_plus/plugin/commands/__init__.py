"""The commands that need AllenNLP. Importing this package registers every command of `allennlp_elmo_plus` with AllenNLP."""

from allennlp.commands.subcommand import Subcommand

from allennlp_elmo_plus.commands.shared.catalog import command_files, load_command

for _name in command_files():
    Subcommand.register(_name)(load_command(_name))
