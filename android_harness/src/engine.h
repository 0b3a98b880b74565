// What executes the methods: ExecuTorch or TorchScript. A build has one of them (cmake/), so all
// that is loaded in it is of one kind.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "program.h"

namespace mobilesplit {

// A program in an engine's memory.
class Engine {
 public:
  virtual ~Engine() = default;

  // The time that mapping and checking the program took.
  virtual double load_ms() const = 0;
  // In any order. Throws Failure.
  virtual std::vector<std::string> method_names() const = 0;
  // Of a known method. Throws Failure for one that is not made of plain row-major tensors.
  virtual MethodSpec describe(const std::string& name) const = 0;
  // `spec` outlives what is loaded. Throws Failure.
  virtual std::unique_ptr<LoadedMethod> load(const MethodSpec& spec) = 0;
  // Frees what load() made besides the LoadedMethod, which is gone already.
  virtual void unload(const std::string& name) = 0;
  // What was traced since the program was opened to be traced.
  virtual std::string trace() const = 0;
};

// Throws Failure for a program that is missing, corrupt or too new, UsageFailure where the engine
// cannot trace.
std::unique_ptr<Engine> open_engine(const std::string& path, bool traced);

// Sends the engine's log nowhere but into the text of the next Failure. Call it first.
void capture_engine_log();

// Sets the number of threads that a method runs on. Call it before a program is opened.
void set_thread_count(unsigned threads);

}  // namespace mobilesplit
