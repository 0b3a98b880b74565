// An ExecuTorch program: its methods, what they take and give, and running one.
#pragma once

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor_ptr.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io.h"

namespace mobilesplit {

// A tensor of a method: elements in row-major order.
struct TensorSpec {
  executorch::aten::ScalarType type;
  const char* dtype;
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
  LoadedMethod(executorch::runtime::Method& method, const MethodSpec& spec);

  // Where the raw elements of input `i` go; spec().inputs[i].nbytes bytes, kept between runs.
  void* input_data(size_t i);
  const MethodSpec& spec() const { return spec_; }

  // Runs with the inputs as they stand; returns the time of the execution alone in ms.
  double run();
  struct Times {
    double execute_ms;
    double total_ms;  // with handing over: a copy where the program has planned memory for inputs
  };
  // Runs on what `source` returned last. check_follows() has passed the two.
  Times run_on(const LoadedMethod& source);

  struct Output {
    TensorSpec spec;
    Bytes bytes;  // valid until the next run of any kind
  };
  std::vector<Output> outputs() const;

 private:
  void make_buffers();
  double execute(const std::vector<executorch::runtime::EValue>& inputs);

  executorch::runtime::Method& method_;
  const MethodSpec& spec_;
  // Made on first use: a method that runs on another's outputs needs none.
  std::vector<std::unique_ptr<char[]>> buffers_;
  std::vector<executorch::extension::TensorPtr> tensors_;
  std::vector<executorch::runtime::EValue> inputs_;
};

class Program {
 public:
  // Maps the file; `traced` keeps the times of every operator. Throws Failure for a file that is
  // missing, corrupt or too new, UsageFailure where this build cannot trace.
  explicit Program(const std::string& path, bool traced = false);

  double load_ms() const { return load_ms_; }
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
  // Module gives out its methods to nobody but subclasses, and timing the execution alone needs
  // one: Module::execute() also copies inputs and outputs.
  class OpenModule : public executorch::extension::Module {
   public:
    using Module::Module;
    executorch::runtime::Method& loaded(const std::string& name) {
      return *methods_.at(name).method;
    }
  };

  std::string path_;
  OpenModule module_;
  double load_ms_ = 0;
  std::vector<std::string> names_;
  std::map<std::string, MethodSpec> specs_;
  std::map<std::string, LoadedMethod> loaded_;
  std::map<std::string, size_t> holds_;
};

// Throws Failure unless `next` takes exactly what `method` returns.
void check_follows(const MethodSpec& method, const MethodSpec& next);

// Sends the runtime's log nowhere but into the text of the next Failure. Call it first.
void capture_runtime_log();

// Sets the size of the thread pool that XNNPACK and the kernels share.
void set_thread_count(unsigned threads);

}  // namespace mobilesplit
