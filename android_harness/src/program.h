// A program: its methods, what they take and give, and running one. The same for every engine.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io.h"

namespace mobilesplit {

class Engine;

// A tensor of a method: elements in row-major order.
struct TensorSpec {
  const char* dtype;  // a name of dtype.h
  std::vector<int32_t> shape;
  size_t nbytes;

  std::string json() const;
};

struct MethodSpec {
  std::string name;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

// A method that is ready to run. It lives in its Program and must not outlive it.
class LoadedMethod {
 public:
  explicit LoadedMethod(const MethodSpec& spec) : spec_(spec) {}
  virtual ~LoadedMethod() = default;
  LoadedMethod(const LoadedMethod&) = delete;
  LoadedMethod& operator=(const LoadedMethod&) = delete;

  const MethodSpec& spec() const { return spec_; }

  // Where the raw elements of input `i` go; spec().inputs[i].nbytes bytes, kept between runs.
  virtual void* input_data(size_t i) = 0;

  // Runs with the inputs as they stand; returns the time of the execution alone in ms.
  virtual double run() = 0;
  struct Times {
    double execute_ms;
    double total_ms;  // with handing over: a copy where the program has planned memory for inputs
  };
  // Runs on what `source`, of the same program, returned last. check_follows() has passed the two.
  virtual Times run_on(const LoadedMethod& source) = 0;

  struct Output {
    TensorSpec spec;
    Bytes bytes;  // valid until the next run of any kind
  };
  virtual std::vector<Output> outputs() const = 0;

 private:
  const MethodSpec& spec_;
};

class Program {
 public:
  // Maps the file; `traced` keeps the times of every operator. Throws Failure for a file that is
  // missing, corrupt or too new, UsageFailure where this build cannot trace.
  explicit Program(const std::string& path, bool traced = false);
  ~Program();

  double load_ms() const;
  // Sorted by name.
  const std::vector<std::string>& method_names() const { return names_; }

  // What a method takes and gives, without loading it. Throws Failure for an unknown name (with
  // the known ones) and for a method that is not made of plain row-major tensors.
  const MethodSpec& spec(const std::string& name);

  // Loads the method on first use and keeps it. Throws Failure.
  LoadedMethod& method(const std::string& name);
  // The same, counted: the method is freed when release() has been called as often.
  LoadedMethod& hold(const std::string& name);
  void release(const std::string& name);

  // What was traced, in the engine's own format. The program was made to be traced.
  std::string trace() const;

 private:
  std::unique_ptr<Engine> engine_;
  std::vector<std::string> names_;
  std::map<std::string, MethodSpec> specs_;
  std::map<std::string, std::unique_ptr<LoadedMethod>> loaded_;
  std::map<std::string, size_t> holds_;
};

// Throws Failure unless `next` takes exactly what `method` returns.
void check_follows(const MethodSpec& method, const MethodSpec& next);

}  // namespace mobilesplit
