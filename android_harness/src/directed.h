// A benchmark that another program directs, line by line over standard input:
//
//   load ID SERIES                           part, ..., ready
//   run ID PHASE MIN_RUNS MIN_S MAX_S        sample, ..., ran
//   stop                                     ends the phase that runs; else it says nothing
//   unload ID                                unloaded
//   quit
//
// One rule: nobody waits for a line while a series runs; between two runs it looks for one.
#pragma once

#include "bench.h"
#include "io.h"

namespace mobilesplit {

// Returns at `quit` and at the end of input. Throws StreamLost for a line that is none of these,
// Failure where what it asks for cannot be.
void direct_bench(Bench& bench, InputStream& input);

}  // namespace mobilesplit
