// Measures series and reports every raw sample as an event. README.md describes the events.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "arguments.h"
#include "program.h"
#include "series.h"
#include "virtual_phone.h"

namespace mobilesplit {

// The series that are in memory, by id. Every call reports what it did.
class Bench {
 public:
  Bench(Program& program, const std::vector<std::string>& inputs, const VirtualPhone& phone)
      : program_(program), inputs_(inputs), phone_(phone) {}

  // Throws Failure for an id that is taken and for a series that cannot be.
  void load(const std::string& id, const Series& series);
  // Runs to the end of the rule, or until `stop` says so between two runs. Throws Failure.
  void run(const std::string& id, const std::string& phase, const StoppingRule& rule,
           const std::function<bool()>& stop);
  // Throws Failure for an unknown id.
  void unload(const std::string& id);

 private:
  LoadedSeries& loaded(const std::string& id);

  Program& program_;
  const std::vector<std::string>& inputs_;
  const VirtualPhone& phone_;
  std::map<std::string, std::unique_ptr<LoadedSeries>> series_;
};

// Each series of the command line in turn; its place there is its id. Throws Failure; what was
// reported until then stands.
void bench_in_turn(Program& program, const Arguments& arguments, const VirtualPhone& phone);

}  // namespace mobilesplit
