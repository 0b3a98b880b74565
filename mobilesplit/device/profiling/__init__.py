"""Measuring the heads of a bundle on a device so that people believe it.

plan      what is run: the chain of stages, heads alone, encoders     pure
measure   runs it over one device, round by round, into the journal
journal   what was measured so far, as JSON lines; resumed from
heads     from the journal to samples, intervals and corrections      pure
verdicts  whether to trust them                                       pure
contenders  which cuts a plan could depend on                         pure
"""
