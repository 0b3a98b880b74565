"""nn.Module -> graph -> cuts -> head, tail, stages, each verified against the whole."""
