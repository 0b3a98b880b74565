"""Heads to ExecuTorch, tails to torch.export stages, and the bundle that holds them."""
