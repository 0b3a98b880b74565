#include "etdump.h"

#include "failure.h"

#if HAS_ETDUMP
#include <executorch/devtools/etdump/etdump_flatcc.h>

#include <cstdlib>

namespace mobilesplit {

using executorch::etdump::ETDumpGen;

std::unique_ptr<executorch::runtime::EventTracer> make_tracer() {
  return std::make_unique<ETDumpGen>();
}

std::string etdump_of(executorch::runtime::EventTracer& tracer) {
  const auto result = static_cast<ETDumpGen&>(tracer).get_etdump_data();
  std::string data(static_cast<const char*>(result.buf), result.size);
  std::free(result.buf);  // the caller's, where the tracer was given no memory of its own
  return data;
}

}  // namespace mobilesplit
#else
namespace mobilesplit {

std::unique_ptr<executorch::runtime::EventTracer> make_tracer() {
  throw UsageFailure("--etdump needs a runner that is built with ExecuTorch's ETDump");
}

std::string etdump_of(executorch::runtime::EventTracer&) { return {}; }

}  // namespace mobilesplit
#endif
