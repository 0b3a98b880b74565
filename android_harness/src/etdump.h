// ExecuTorch's event trace of a program's runs, in its own format ETDump.
#pragma once

#include <executorch/runtime/core/event_tracer.h>

#include <memory>
#include <string>

namespace mobilesplit {

// A tracer that keeps every event in memory. Throws UsageFailure where this build has none.
std::unique_ptr<executorch::runtime::EventTracer> make_tracer();

// The events so far, as an ETDump. `tracer` is of make_tracer().
std::string etdump_of(executorch::runtime::EventTracer& tracer);

}  // namespace mobilesplit
