#include "arguments.h"

#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>

#include "failure.h"

namespace mobilesplit {

const char* const kUsage =
    "usage: mobilesplit-runner --version\n"
    "       mobilesplit-runner info --program P\n"
    "       mobilesplit-runner bench --program P --input FILE [--input FILE2 ...]\n"
    "           (--methods SERIES[,SERIES...] | --directed) [--threads 1] [--core-mask HEX]\n"
    "           [--etdump FILE] [--warmup-runs 2] [--warmup-s 0] [--min-runs 5] [--min-s 0.5]\n"
    "           [--max-s 20]\n"
    "       mobilesplit-runner session --program P [--threads 1] [--core-mask HEX]\n"
    "A SERIES is METHOD[+ENCODER...][:METHOD[+ENCODER...]...].\n"
    "Results are JSON lines on stdout; android_harness/README.md describes them.\n";

double parse_number(const std::string& what, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value) || value < 0) {
    throw UsageFailure(what + " takes a number >= 0, not '" + text + "'");
  }
  return value;
}

long parse_count(const std::string& what, const std::string& text, long least, long most) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < least || value > most) {
    throw UsageFailure(what + " takes a whole number from " + std::to_string(least) + " to " +
                       std::to_string(most) + ", not '" + text + "'");
  }
  return value;
}

Arguments parse_arguments(const std::vector<std::string>& words) {
  Arguments arguments;
  if (words.empty()) {
    throw UsageFailure("a command is missing: info, bench, session or --version");
  }
  const std::string& command = words[0];
  using Command = Arguments::Command;
  const std::map<std::string, Command> commands = {
      {"--version", Command::kVersion}, {"--help", Command::kHelp},       {"-h", Command::kHelp},
      {"info", Command::kInfo},         {"bench", Command::kBench},
      {"session", Command::kSession},
  };
  const auto known = commands.find(command);
  if (known == commands.end()) {
    throw UsageFailure("no command is called '" + command + "'; known: info, bench, session");
  }
  arguments.command = known->second;

  std::map<std::string, std::function<void(const std::string&, const std::string&)>> options;
  if (arguments.command >= Command::kInfo) {
    options["--program"] = [&](auto&, auto& text) { arguments.program = text; };
  }
  if (arguments.command >= Command::kBench) {
    options["--threads"] = [&](auto& option, auto& text) {
      arguments.threads = static_cast<unsigned>(parse_count(option, text, 1, 64));
    };
    options["--core-mask"] = [&](auto&, auto& text) { arguments.core_mask = text; };
  }
  if (arguments.command == Command::kBench) {
    options["--methods"] = [&](auto& option, auto& text) {
      for (const std::string& name : split_names(option, text, ',')) {
        arguments.methods.push_back(parse_series(name));
      }
    };
    options["--input"] = [&](auto&, auto& text) { arguments.inputs.push_back(text); };
    options["--etdump"] = [&](auto&, auto& text) { arguments.etdump = text; };
    options["--warmup-runs"] = [&](auto& option, auto& text) {
      arguments.warmup.min_runs = parse_count(option, text, 0, kManyRuns);
    };
    options["--warmup-s"] = [&](auto& option, auto& text) {
      arguments.warmup.min_s = parse_number(option, text);
    };
    options["--min-runs"] = [&](auto& option, auto& text) {
      arguments.measure.min_runs = parse_count(option, text, 0, kManyRuns);
    };
    options["--min-s"] = [&](auto& option, auto& text) {
      arguments.measure.min_s = parse_number(option, text);
    };
    options["--max-s"] = [&](auto& option, auto& text) {
      arguments.warmup.max_s = arguments.measure.max_s = parse_number(option, text);
    };
  }

  for (size_t i = 1; i < words.size(); ++i) {
    std::string option = words[i];
    if (option == "--directed" && arguments.command == Command::kBench) {
      arguments.directed = true;
      continue;
    }
    const auto action = options.find(option);
    if (action == options.end()) {
      throw UsageFailure(command + " does not take '" + option + "'");
    }
    if (++i == words.size()) {
      throw UsageFailure(option + " needs a value");
    }
    action->second(option, words[i]);
  }
  if (arguments.command >= Command::kInfo && arguments.program.empty()) {
    throw UsageFailure(command + " needs --program");
  }
  if (arguments.command == Command::kBench && arguments.methods.empty() != arguments.directed) {
    throw UsageFailure("bench needs either --methods or --directed");
  }
  return arguments;
}

}  // namespace mobilesplit
