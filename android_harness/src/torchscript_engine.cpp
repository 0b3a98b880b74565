// The engine TorchScript: a program is a folder with a file METHOD.pt for each method and a file
// methods.txt with what they take and give, which TorchScript files do not say:
//   METHOD in|out DTYPE [SIZE ...]     one line a tensor, in order
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "clock.h"
#include "dtype.h"
#include "engine.h"
#include "failure.h"

namespace mobilesplit {

namespace {

constexpr c10::ScalarType kTypes[] = {
    c10::ScalarType::Float, c10::ScalarType::Half,  c10::ScalarType::Double,
    c10::ScalarType::Char,  c10::ScalarType::Byte,  c10::ScalarType::Short,
    c10::ScalarType::Int,   c10::ScalarType::Long,  c10::ScalarType::Bool,
};

// Throws Failure for a name that is not of dtype.h.
c10::ScalarType type_named(const std::string& name) {
  for (const c10::ScalarType type : kTypes) {
    if (name == dtype_name(type)) {
      return type;
    }
  }
  throw Failure("no element type is called '" + name + "'", kBadProgram);
}

// Of what torch says, the line that names the error: around it stands where it happened.
std::string sentence(const std::string& message) {
  const size_t named = message.find("RuntimeError: ");
  const size_t start = named == std::string::npos ? 0 : named;
  return message.substr(start, message.find('\n', start) - start);
}

TensorSpec parse_tensor(std::istringstream& words) {
  std::string dtype;
  words >> dtype;
  const c10::ScalarType type = type_named(dtype);
  TensorSpec spec{dtype_name(type), {}, c10::elementSize(type)};
  for (int32_t size = 0; words >> size;) {
    spec.shape.push_back(size);
    spec.nbytes *= static_cast<size_t>(size);
  }
  if (!words.eof()) {
    throw Failure("a size is no number", kBadProgram);
  }
  return spec;
}

std::map<std::string, MethodSpec> read_methods(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    throw Failure("cannot open the program " + path + ": " + std::strerror(errno));
  }
  std::map<std::string, MethodSpec> methods;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::string side;
    words >> name >> side;
    if (side != "in" && side != "out") {
      throw Failure(path + " is no list of methods: '" + line.substr(0, 80) + "'", kBadProgram);
    }
    MethodSpec& spec = methods[name];
    spec.name = name;
    (side == "in" ? spec.inputs : spec.outputs).push_back(parse_tensor(words));
  }
  return methods;
}

class TorchscriptMethod : public LoadedMethod {
 public:
  TorchscriptMethod(torch::jit::Module module, const MethodSpec& spec)
      : LoadedMethod(spec), module_(std::move(module)) {}

  void* input_data(size_t i) override {
    if (inputs_.empty()) {
      const c10::InferenceMode guard;
      for (const TensorSpec& input : spec().inputs) {
        const std::vector<int64_t> sizes(input.shape.begin(), input.shape.end());
        inputs_.push_back(at::empty(sizes, type_named(input.dtype)));
      }
    }
    return inputs_[i].mutable_data_ptr();
  }

  double run() override { return execute(inputs_); }

  Times run_on(const LoadedMethod& source) override {
    const auto start = Clock::now();
    const double execute_ms = execute(static_cast<const TorchscriptMethod&>(source).outputs_);
    return {execute_ms, ms_since(start)};
  }

  std::vector<Output> outputs() const override {
    std::vector<Output> outputs;
    for (size_t i = 0; i < outputs_.size(); ++i) {
      outputs.push_back({spec().outputs[i], {outputs_[i].const_data_ptr(), outputs_[i].nbytes()}});
    }
    return outputs;
  }

 private:
  double execute(const std::vector<at::Tensor>& inputs);
  void keep(const c10::IValue& returned);

  torch::jit::Module module_;
  std::vector<at::Tensor> inputs_;
  std::vector<at::Tensor> outputs_;
};

double TorchscriptMethod::execute(const std::vector<at::Tensor>& inputs) {
  const c10::InferenceMode guard;
  c10::IValue returned;
  double elapsed_ms = 0;
  try {
    std::vector<c10::IValue> arguments(inputs.begin(), inputs.end());
    const auto start = Clock::now();
    returned = module_.forward(std::move(arguments));
    elapsed_ms = ms_since(start);
  } catch (const std::exception& error) {
    throw Failure("method '" + spec().name + "' failed: " + sentence(error.what()));
  }
  keep(returned);
  return elapsed_ms;
}

// What it returned, row-major, once it is seen to be what methods.txt says.
void TorchscriptMethod::keep(const c10::IValue& returned) {
  std::vector<at::Tensor> tensors;
  if (returned.isTensor()) {
    tensors.push_back(returned.toTensor());
  } else if (returned.isTuple()) {
    for (const c10::IValue& element : returned.toTupleRef().elements()) {
      if (element.isTensor()) {
        tensors.push_back(element.toTensor());
      }
    }
  }
  const auto matches = [](const at::Tensor& tensor, const TensorSpec& spec) {
    return tensor.scalar_type() == type_named(spec.dtype) &&
           std::equal(tensor.sizes().begin(), tensor.sizes().end(), spec.shape.begin(),
                      spec.shape.end());
  };
  const std::vector<TensorSpec>& wanted = spec().outputs;
  if (!std::equal(tensors.begin(), tensors.end(), wanted.begin(), wanted.end(), matches)) {
    throw Failure("method '" + spec().name + "' returned other tensors than methods.txt says",
                  kBadProgram);
  }
  outputs_.clear();
  for (const at::Tensor& tensor : tensors) {
    outputs_.push_back(tensor.contiguous());
  }
}

class TorchscriptEngine : public Engine {
 public:
  explicit TorchscriptEngine(const std::string& folder) : folder_(folder) {
    const auto start = Clock::now();
    methods_ = read_methods(folder + "/methods.txt");
    load_ms_ = ms_since(start);
  }

  double load_ms() const override { return load_ms_; }

  std::vector<std::string> method_names() const override {
    std::vector<std::string> names;
    for (const auto& method : methods_) {
      names.push_back(method.first);
    }
    return names;
  }

  MethodSpec describe(const std::string& name) const override { return methods_.at(name); }

  std::unique_ptr<LoadedMethod> load(const MethodSpec& spec) override {
    const std::string path = folder_ + "/" + spec.name + ".pt";
    const c10::InferenceMode guard;
    try {
      torch::jit::Module module = torch::jit::load(path, c10::Device(c10::DeviceType::CPU));
      module.eval();
      return std::make_unique<TorchscriptMethod>(std::move(module), spec);
    } catch (const std::exception& error) {
      throw Failure(path + " is not a program that torch " ENGINE_VERSION " loads: " +
                        sentence(error.what()),
                    kBadProgram);
    }
  }

  void unload(const std::string&) override {}  // the LoadedMethod held all there was

  std::string trace() const override { return {}; }  // open_engine() has refused to trace

 private:
  std::string folder_;
  std::map<std::string, MethodSpec> methods_;
  double load_ms_ = 0;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const std::string& path, bool traced) {
  if (traced) {
    throw UsageFailure("--etdump is ExecuTorch's, and this runner runs TorchScript");
  }
  return std::make_unique<TorchscriptEngine>(path);
}

void capture_engine_log() {}  // torch throws what it has to say

void set_thread_count(unsigned threads) {
  at::set_num_threads(static_cast<int>(threads));
  at::set_num_interop_threads(1);
}

}  // namespace mobilesplit
