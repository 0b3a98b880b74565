// The command line. python_runner.py takes the same.
#pragma once

#include <string>
#include <vector>

#include "choice.h"

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
  std::vector<Choice> methods;
  std::vector<std::string> inputs;
  unsigned threads = 1;
  StoppingRule warmup{2, 0.0, 20.0};
  StoppingRule measure{5, 0.5, 20.0};
  // Wait for a line on standard input before and after each method's measurement.
  bool wait = false;
};

// Throws UsageFailure.
Arguments parse_arguments(const std::vector<std::string>& words);

extern const char* const kUsage;

}  // namespace mobilesplit
