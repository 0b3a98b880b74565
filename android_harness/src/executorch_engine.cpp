// The engine ExecuTorch: a program is one .pte file.
#include "engine.h"

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor_ptr.h>
#include <executorch/runtime/core/exec_aten/util/dim_order_util.h>
#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/platform/platform.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <utility>

#include "clock.h"
#include "dtype.h"
#include "etdump.h"
#include "failure.h"

#if __has_include(<executorch/extension/threadpool/threadpool.h>)
#include <executorch/extension/threadpool/threadpool.h>
#else
// The wheel ships the library but not this header (executorch 1.5.1). Only the names matter to
// the linker; no object of this type is made or copied here.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t num_threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool
#endif

namespace mobilesplit {

using executorch::aten::ScalarType;
using executorch::runtime::Error;
using executorch::runtime::MethodMeta;
using executorch::runtime::Tag;
using executorch::runtime::TensorInfo;

namespace {

std::mutex log_mutex;
std::string first_log_error;

void keep_log_message(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t,
                      const char* message, size_t) {
  const std::lock_guard<std::mutex> lock(log_mutex);
  if (level == kFatal) {
    std::fprintf(stderr, "mobilesplit-runner: %s\n", message);  // the runtime aborts right after
  } else if (level == kError && first_log_error.empty()) {
    first_log_error = message;  // it may quote bytes of a corrupt file
    std::replace_if(
        first_log_error.begin(), first_log_error.end(), [](char c) { return c < ' ' || c > '~'; },
        '?');
  }
}

// The word for the laptop, from the runtime's error and the first line that it logged.
const char* cause_of(Error error, const std::string& log) {
  switch (error) {
    case Error::OperatorMissing:
      return kMissingOperator;
    case Error::NotFound:  // of a delegate's backend too
      return log.find("not registered") == std::string::npos ? "" : kMissingOperator;
    case Error::DelegateInvalidCompatibility:
      return kProgramTooNew;
    case Error::MemoryAllocationFailed:
    case Error::OutOfResources:
    case Error::DelegateMemoryAllocationFailed:
      return kOutOfMemory;
    case Error::InvalidProgram:
    case Error::InvalidExternalData:
      return kBadProgram;
    default:
      return "";
  }
}

// The failure for a runtime error, with the first line that the runtime logged. `otherwise` is the
// cause of an error that names none.
Failure failed(const std::string& what, Error error, const char* otherwise = "") {
  const std::lock_guard<std::mutex> lock(log_mutex);
  const char* const named = cause_of(error, first_log_error);
  const char* const cause = *named != '\0' ? named : otherwise;
  std::string sentence = what + ": " + executorch::runtime::to_string(error);
  if (!first_log_error.empty()) {
    sentence += " (" + first_log_error + ")";
  }
  first_log_error.clear();
  return Failure(sentence, cause);
}

// Whether the file says of itself that another version of the format was written.
bool of_another_format(int fd) {
  using executorch::runtime::Program;
  char head[Program::kMinHeadBytes];
  return pread(fd, head, sizeof head, 0) == static_cast<ssize_t>(sizeof head) &&
         Program::check_header(head, sizeof head) == Program::IncompatibleVersion;
}

// `which` names the tensor in errors: "input 0 of method 'a'".
TensorSpec tensor_spec(const std::string& which, const executorch::runtime::Result<Tag>& tag,
                       const executorch::runtime::Result<TensorInfo>& info) {
  if (!tag.ok() || *tag != Tag::Tensor || !info.ok()) {
    throw Failure(which + " is not a tensor");
  }
  const char* dtype = dtype_name(info->scalar_type());
  if (dtype == nullptr) {
    throw Failure(which + " has an element type that the runner does not carry: " +
                  executorch::runtime::toString(info->scalar_type()));
  }
  const auto order = info->dim_order();
  if (!executorch::runtime::is_contiguous_dim_order(order.data(), order.size())) {
    throw Failure(which + " is not in row-major order (channels last?)");
  }
  return {dtype, {info->sizes().begin(), info->sizes().end()}, info->nbytes()};
}

class ExecutorchMethod : public LoadedMethod {
 public:
  ExecutorchMethod(executorch::runtime::Method& method, const MethodSpec& spec)
      : LoadedMethod(spec), method_(method) {}

  void* input_data(size_t i) override {
    if (buffers_.empty()) {
      make_buffers();
    }
    return buffers_[i].get();
  }

  double run() override { return execute(inputs_); }

  Times run_on(const LoadedMethod& source) override {
    const auto start = Clock::now();
    auto& method = static_cast<const ExecutorchMethod&>(source).method_;
    std::vector<executorch::runtime::EValue> inputs;
    for (size_t i = 0; i < source.spec().outputs.size(); ++i) {
      inputs.push_back(method.get_output(i));
    }
    const double execute_ms = execute(inputs);
    return {execute_ms, ms_since(start)};
  }

  std::vector<Output> outputs() const override;

 private:
  void make_buffers();
  double execute(const std::vector<executorch::runtime::EValue>& inputs);

  executorch::runtime::Method& method_;
  // Made on first use: a method that runs on another's outputs needs none.
  std::vector<std::unique_ptr<char[]>> buffers_;
  std::vector<executorch::extension::TensorPtr> tensors_;
  std::vector<executorch::runtime::EValue> inputs_;
};

void ExecutorchMethod::make_buffers() {
  for (const TensorSpec& input : spec().inputs) {
    const size_t i = buffers_.size();
    buffers_.push_back(std::make_unique<char[]>(input.nbytes));
    tensors_.push_back(executorch::extension::make_tensor_ptr(
        input.shape, buffers_.back().get(), method_.method_meta().input_tensor_meta(i)->scalar_type()));
    inputs_.emplace_back(*tensors_.back());
  }
}

double ExecutorchMethod::execute(const std::vector<executorch::runtime::EValue>& inputs) {
  // Before every run: the memory plan may use an input's memory again once it has been read.
  Error error = method_.set_inputs({inputs.data(), inputs.size()});
  if (error != Error::Ok) {
    throw failed("cannot set the inputs of method '" + spec().name + "'", error);
  }
  const auto start = Clock::now();
  error = method_.execute();
  const double elapsed_ms = ms_since(start);
  if (error != Error::Ok) {
    throw failed("method '" + spec().name + "' failed", error);
  }
  return elapsed_ms;
}

std::vector<LoadedMethod::Output> ExecutorchMethod::outputs() const {
  std::vector<Output> outputs;
  for (size_t i = 0; i < spec().outputs.size(); ++i) {
    const executorch::aten::Tensor tensor = method_.get_output(i).toTensor();
    TensorSpec actual = spec().outputs[i];  // its shape is an upper bound where shapes are dynamic
    actual.shape.assign(tensor.sizes().begin(), tensor.sizes().end());
    actual.nbytes = tensor.nbytes();
    const void* data = tensor.const_data_ptr();
    if (data == nullptr && actual.nbytes > 0) {
      throw Failure("output " + std::to_string(i) + " of method '" + spec().name +
                    "' has no planned memory; export it with planned outputs");
    }
    outputs.push_back({std::move(actual), {data, tensor.nbytes()}});
  }
  return outputs;
}

// Module gives out its methods to nobody but subclasses, and timing the execution alone needs
// one: Module::execute() also copies inputs and outputs.
class OpenModule : public executorch::extension::Module {
 public:
  using Module::Module;
  executorch::runtime::Method& loaded(const std::string& name) { return *methods_.at(name).method; }
};

class ExecutorchEngine : public Engine {
 public:
  ExecutorchEngine(const std::string& path, bool traced);

  double load_ms() const override { return load_ms_; }
  std::vector<std::string> method_names() const override;
  MethodSpec describe(const std::string& name) const override;
  std::unique_ptr<LoadedMethod> load(const MethodSpec& spec) override;
  void unload(const std::string& name) override { module_.unload_method(name); }
  std::string trace() const override { return etdump_of(*module_.event_tracer()); }

 private:
  std::string path_;
  mutable OpenModule module_;  // reading what it has loaded is no const method of Module's
  double load_ms_ = 0;
};

// Mapped, not read: methods touch their own segments only, and the kernel may drop the pages.
// Module's default allocators grow as needed, unlike executor_runner's fixed pools.
ExecutorchEngine::ExecutorchEngine(const std::string& path, bool traced)
    : path_(path),
      module_(path, executorch::extension::Module::LoadMode::Mmap,
              traced ? make_tracer() : nullptr) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    throw Failure("cannot open the program " + path + ": " + std::strerror(errno));
  }
  const bool other_format = of_another_format(fd);
  close(fd);
  const std::string what = path + " is not a program that ExecuTorch " ENGINE_VERSION " loads";
  if (other_format) {
    throw Failure(what + ": the version of its format is another, so it comes of another " +
                      "ExecuTorch, most likely a newer one",
                  kProgramTooNew);
  }
  const auto start = Clock::now();
  const Error error =
      module_.load(executorch::runtime::Program::Verification::InternalConsistency);
  load_ms_ = ms_since(start);
  if (error != Error::Ok) {
    throw failed(what, error, kBadProgram);
  }
}

std::vector<std::string> ExecutorchEngine::method_names() const {
  std::vector<std::string> names;
  const auto program = module_.program();
  for (size_t i = 0; i < program->num_methods(); ++i) {
    const auto name = program->get_method_name(i);
    if (!name.ok()) {
      throw failed("cannot read the methods of " + path_, name.error());
    }
    names.emplace_back(*name);
  }
  return names;
}

MethodSpec ExecutorchEngine::describe(const std::string& name) const {
  const auto meta = module_.method_meta(name);
  if (!meta.ok()) {
    throw failed("cannot read method '" + name + "'", meta.error());
  }
  MethodSpec spec{name, {}, {}};
  const std::string of_method = " of method '" + name + "'";
  for (size_t i = 0; i < meta->num_inputs(); ++i) {
    spec.inputs.push_back(tensor_spec("input " + std::to_string(i) + of_method, meta->input_tag(i),
                                   meta->input_tensor_meta(i)));
  }
  for (size_t i = 0; i < meta->num_outputs(); ++i) {
    spec.outputs.push_back(tensor_spec("output " + std::to_string(i) + of_method, meta->output_tag(i),
                                    meta->output_tensor_meta(i)));
  }
  return spec;
}

std::unique_ptr<LoadedMethod> ExecutorchEngine::load(const MethodSpec& spec) {
  const Error error = module_.load_method(spec.name);
  if (error != Error::Ok) {
    throw failed("cannot load method '" + spec.name + "'", error);
  }
  return std::make_unique<ExecutorchMethod>(module_.loaded(spec.name), spec);
}

}  // namespace

std::unique_ptr<Engine> open_engine(const std::string& path, bool traced) {
  return std::make_unique<ExecutorchEngine>(path, traced);
}

void capture_engine_log() {
  executorch::runtime::register_pal(
      executorch::runtime::PalImpl::create(keep_log_message, __FILE__));
}

void set_thread_count(unsigned threads) {
  executorch::extension::threadpool::ThreadPool* pool =
      executorch::extension::threadpool::get_threadpool();
  if (pool == nullptr || !pool->_unsafe_reset_threadpool(threads)) {
    throw Failure("cannot set the thread pool to " + std::to_string(threads) + " threads");
  }
}

}  // namespace mobilesplit
