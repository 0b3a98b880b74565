// The command line. python_runner.py takes the same.
#pragma once

#include <string>
#include <vector>

#include "series.h"

namespace mobilesplit {

// A phase goes on while (runs < min_runs or time < min_s) and time <= max_s.
struct StoppingRule {
  long min_runs;
  double min_s;
  double max_s;
};

struct Arguments {
  enum class Command { kVersion, kHelp, kInfo, kBench, kSession };

  Command command = Command::kHelp;
  std::string program;
  std::vector<Series> methods;
  std::vector<std::string> inputs;
  unsigned threads = 1;
  std::string core_mask;  // empty: every core that the system gives
  StoppingRule warmup{2, 0.0, 20.0};
  StoppingRule measure{5, 0.5, 20.0};
  // What to measure comes over standard input instead of `methods`.
  bool directed = false;
  // Where the trace of every operator goes; empty for none.
  std::string etdump;
};

// Throws UsageFailure.
Arguments parse_arguments(const std::vector<std::string>& words);

constexpr long kManyRuns = 100'000'000;

// A number that is not negative, a whole one within limits. Throw UsageFailure: `what` "takes ...".
double parse_number(const std::string& what, const std::string& text);
long parse_count(const std::string& what, const std::string& text, long least, long most);

extern const char* const kUsage;

}  // namespace mobilesplit
