#include "program.h"

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

// Null for element types that the formats of mobilesplit do not carry.
const char* dtype_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Half:
      return "float16";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Char:
      return "int8";
    case ScalarType::Byte:
      return "uint8";
    case ScalarType::Short:
      return "int16";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Bool:
      return "bool";
    default:
      return nullptr;
  }
}

// `which` names the tensor in errors: "input 0 of method 'a'".
TensorSpec describe(const std::string& which, const executorch::runtime::Result<Tag>& tag,
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
  return {info->scalar_type(), dtype, {info->sizes().begin(), info->sizes().end()}, info->nbytes()};
}

}  // namespace

std::string TensorSpec::json() const {
  std::vector<std::string> sizes;
  for (const int32_t size : shape) {
    sizes.push_back(std::to_string(size));
  }
  return JsonObject()
      .text("dtype", dtype)
      .raw("shape", json_array(sizes))
      .integer("nbytes", static_cast<int64_t>(nbytes))
      .object();
}

LoadedMethod::LoadedMethod(executorch::runtime::Method& method, const MethodSpec& spec)
    : method_(method), spec_(spec) {}

void LoadedMethod::make_buffers() {
  for (const TensorSpec& input : spec_.inputs) {
    buffers_.push_back(std::make_unique<char[]>(input.nbytes));
    tensors_.push_back(executorch::extension::make_tensor_ptr(input.shape, buffers_.back().get(),
                                                              input.type));
    inputs_.emplace_back(*tensors_.back());
  }
}

void* LoadedMethod::input_data(size_t i) {
  if (buffers_.empty()) {
    make_buffers();
  }
  return buffers_[i].get();
}

double LoadedMethod::run() { return execute(inputs_); }

LoadedMethod::Times LoadedMethod::run_on(const LoadedMethod& source) {
  const auto start = Clock::now();
  std::vector<executorch::runtime::EValue> inputs;
  for (size_t i = 0; i < source.spec_.outputs.size(); ++i) {
    inputs.push_back(source.method_.get_output(i));
  }
  const double execute_ms = execute(inputs);
  return {execute_ms, ms_since(start)};
}

double LoadedMethod::execute(const std::vector<executorch::runtime::EValue>& inputs) {
  // Before every run: the memory plan may use an input's memory again once it has been read.
  Error error = method_.set_inputs({inputs.data(), inputs.size()});
  if (error != Error::Ok) {
    throw failed("cannot set the inputs of method '" + spec_.name + "'", error);
  }
  const auto start = Clock::now();
  error = method_.execute();
  const double elapsed_ms = ms_since(start);
  if (error != Error::Ok) {
    throw failed("method '" + spec_.name + "' failed", error);
  }
  return elapsed_ms;
}

std::vector<LoadedMethod::Output> LoadedMethod::outputs() const {
  std::vector<Output> outputs;
  for (size_t i = 0; i < spec_.outputs.size(); ++i) {
    const executorch::aten::Tensor tensor = method_.get_output(i).toTensor();
    TensorSpec spec = spec_.outputs[i];  // its shape is an upper bound where shapes are dynamic
    spec.shape.assign(tensor.sizes().begin(), tensor.sizes().end());
    spec.nbytes = tensor.nbytes();
    const void* data = tensor.const_data_ptr();
    if (data == nullptr && spec.nbytes > 0) {
      throw Failure("output " + std::to_string(i) + " of method '" + spec_.name +
                    "' has no planned memory; export it with planned outputs");
    }
    outputs.push_back({std::move(spec), {data, tensor.nbytes()}});
  }
  return outputs;
}

// Mapped, not read: methods touch their own segments only, and the kernel may drop the pages.
// Module's default allocators grow as needed, unlike executor_runner's fixed pools.
Program::Program(const std::string& path, bool traced)
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
  const auto program = module_.program();
  for (size_t i = 0; i < program->num_methods(); ++i) {
    const auto name = program->get_method_name(i);
    if (!name.ok()) {
      throw failed("cannot read the methods of " + path, name.error());
    }
    names_.emplace_back(*name);
  }
  std::sort(names_.begin(), names_.end());
}

const MethodSpec& Program::spec(const std::string& name) {
  const auto known = specs_.find(name);
  if (known != specs_.end()) {
    return known->second;
  }
  if (!std::binary_search(names_.begin(), names_.end(), name)) {
    std::string listing;
    for (const std::string& other : names_) {
      listing += (listing.empty() ? "" : ", ") + other;
    }
    throw Failure("no method is called '" + name + "'; known: " + listing);
  }
  const auto meta = module_.method_meta(name);
  if (!meta.ok()) {
    throw failed("cannot read method '" + name + "'", meta.error());
  }
  MethodSpec spec{name, {}, {}};
  const std::string of_method = " of method '" + name + "'";
  for (size_t i = 0; i < meta->num_inputs(); ++i) {
    spec.inputs.push_back(describe("input " + std::to_string(i) + of_method, meta->input_tag(i),
                                   meta->input_tensor_meta(i)));
  }
  for (size_t i = 0; i < meta->num_outputs(); ++i) {
    spec.outputs.push_back(describe("output " + std::to_string(i) + of_method, meta->output_tag(i),
                                    meta->output_tensor_meta(i)));
  }
  return specs_.emplace(name, std::move(spec)).first->second;
}

LoadedMethod& Program::method(const std::string& name) {
  const auto known = loaded_.find(name);
  if (known != loaded_.end()) {
    return known->second;
  }
  const MethodSpec& described = spec(name);
  const Error error = module_.load_method(name);
  if (error != Error::Ok) {
    throw failed("cannot load method '" + name + "'", error);
  }
  return loaded_.emplace(std::piecewise_construct, std::forward_as_tuple(name),
                         std::forward_as_tuple(module_.loaded(name), described))
      .first->second;
}

LoadedMethod& Program::hold(const std::string& name) {
  LoadedMethod& held = method(name);
  ++holds_[name];
  return held;
}

void Program::release(const std::string& name) {
  if (--holds_.at(name) == 0) {
    loaded_.erase(name);
    module_.unload_method(name);
  }
}

std::string Program::trace() const { return etdump_of(*module_.event_tracer()); }

void check_follows(const MethodSpec& method, const MethodSpec& next) {
  const auto look_alike = [](const TensorSpec& given, const TensorSpec& taken) {
    return given.type == taken.type && given.shape == taken.shape;
  };
  if (!std::equal(method.outputs.begin(), method.outputs.end(), next.inputs.begin(),
                  next.inputs.end(), look_alike)) {
    throw Failure("method '" + next.name + "' does not take what '" + method.name +
                  "' returns");
  }
}

void capture_runtime_log() {
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
