"""The command `elmo-explore`."""

import argparse
from functools import partial

from overrides import overrides
from tqdm import tqdm

from allennlp_elmo_plus.commands.shared.command_line import (
    STREAMED_TEXT_HELP,
    ElmoCommand,
    integer_from,
)
from allennlp_elmo_plus.commands.shared.model_arguments import MODEL_HELP, add_device_argument, add_vocab_file_argument
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.explore.explorer import Explorer
from allennlp_elmo_plus.explore.page import explore_page
from allennlp_elmo_plus.explore.server import LOOPBACK, page_server
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model


class ElmoExplore(ElmoCommand):
    """Show a web page to look into a biLM.

    Type a sentence into the page: it shows the surprisal of each word in both directions, and how similar the words are in each
    layer. Click on a word for its substitutes and for its neighbours in a text. Compare two sentences. Only browsers on this machine
    can open the page, unless --host says otherwise. Ctrl-C ends the command.
    """

    example = """\
example:
  elmo-plus explore runs/bilm/model.tar.gz --text data/heldout.txt"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model", help=MODEL_HELP)
        parser.add_argument(
            "--text",
            help=f"the text in which neighbours are found; without it the page shows none: {STREAMED_TEXT_HELP}. It is held in memory, "
            "up to 100 million numbers",
        )
        add_vocab_file_argument(parser)
        parser.add_argument(
            "--host",
            default=LOOPBACK,
            help="the address to listen at (default: %(default)s, this machine alone); with 0.0.0.0 everybody in the network can "
            "read the text",
        )
        parser.add_argument(
            "--port", type=integer_from(0), default=8765, help="default: %(default)s; 0 is any free port"
        )
        add_device_argument(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        stored = read_model(ModelSource(args.model, vocab_file=args.vocab_file))
        # A missing file is an error before the bar appears.
        text = None if args.text is None else tqdm(iter_sentences(args.text), "reading the text", unit=" sentences")
        explorer = Explorer(stored, text, args.cuda_device)
        write_page = partial(explore_page, explorer, args.model)
        with page_server(write_page, args.host, args.port) as server:
            print(f"open http://{args.host}:{server.server_port} in a browser; Ctrl-C ends", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print()
