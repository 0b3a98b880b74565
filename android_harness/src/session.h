// Answers requests on standard input until it ends.
//
//   request:  run <id> <method>[+<encoder>] <nbytes0> [<nbytes1> ...]\n, then the raw bytes of
//             the inputs
//   answer:   {"id":..,"latency_ms":..,"outputs":[{"dtype","shape","nbytes"},..]}\n, then the raw
//             bytes of the outputs; or {"id":..,"error":".."}\n
//             with an encoder, also "encode_ms", and the outputs are the encoder's
//
// One rule: whatever a request announces is consumed, so that the next one is found.
#pragma once

#include "io.h"
#include "program.h"
#include "virtual_phone.h"

namespace mobilesplit {

// Returns at `quit` and at the end of input. Throws StreamLost when the framing is lost: a line
// that is no request, a size over 1 GiB, an end in the middle of a request.
void serve_session(Program& program, InputStream& input, const VirtualPhone& phone);

}  // namespace mobilesplit
